// A cuBLASLt that checks what it is given as the real one does, or more strictly, and lets Python do the product.
//
// It is a real library with the real one's C interface, so that a wrong number, size or order of arguments in our
// binding shows. An algorithm belongs to what it was asked for: another shape, type or epilogue is refused, and so are
// addresses less aligned than it was promised and a workspace smaller than it wants.
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define API extern "C" __attribute__((visibility("default")))
enum Status { SUCCESS = 0, NOT_INITIALIZED = 1, INVALID_VALUE = 7, EXECUTION_FAILED = 13, NOT_SUPPORTED = 15 };
enum Kind : uint64_t { HANDLE = 0x68616e64, PRODUCT = 0x70726f64, LAYOUT = 0x6c61796f, PREFERENCE = 0x70726566, GONE = 0 };
enum { R_32F = 0, R_64F = 1, COMPUTE_32F = 68, COMPUTE_32F_FAST_TF32 = 77, COMPUTE_64F = 70 };
enum { TRANSA = 3, TRANSB = 4, EPILOGUE = 7, BIAS_POINTER = 8, EPILOGUE_DEFAULT = 1, EPILOGUE_BIAS = 4 };
enum { MAX_WORKSPACE_BYTES = 1, MIN_ALIGNMENT_A_BYTES = 5, MIN_ALIGNMENT_D_BYTES = 8 };

struct Handle { Kind kind; };
struct Product { Kind kind; int compute, scale, transa, transb; uint32_t epilogue; const void* bias; };
struct Layout { Kind kind; int type; uint64_t rows, cols; int64_t ld; };
struct Preference { Kind kind; uint64_t workspace; uint32_t alignment[4]; };
struct Algorithm { uint64_t data[8]; };
struct Heuristic { Algorithm algorithm; size_t workspace; int state; float waves; int reserved[4]; };

// One product with plain numbers; the rest is up to `multiply`, which Python gives.
struct Job {
    int64_t type, compute, transa, transb, m, n, k, lda, ldb, ldd;
    const void *a, *b; void* d; const void* bias; void* workspace; uint64_t workspace_bytes; void* stream;
};
static int (*multiply)(const Job*);
API void simulated_multiply(int (*function)(const Job*)) { multiply = function; }

static bool is(const void* what, Kind kind) { return what && *static_cast<const Kind*>(what) == kind; }
template <class T> static int destroy(T* what, Kind kind) {
    if (!is(what, kind)) return INVALID_VALUE;
    what->kind = GONE;  // and is kept, so that later use shows
    return SUCCESS;
}
template <class T> static int set(T& target, const void* value, size_t size) {
    if (!value || size != sizeof(T)) return INVALID_VALUE;
    memcpy(&target, value, size);
    return SUCCESS;
}

API const char* cublasLtGetStatusString(int status) {
    switch (status) {
        case NOT_INITIALIZED: return "CUBLAS_STATUS_NOT_INITIALIZED";
        case INVALID_VALUE: return "CUBLAS_STATUS_INVALID_VALUE";
        case EXECUTION_FAILED: return "CUBLAS_STATUS_EXECUTION_FAILED";
        case NOT_SUPPORTED: return "CUBLAS_STATUS_NOT_SUPPORTED";
    }
    return "CUBLAS_STATUS_SUCCESS";
}

API int cublasLtCreate(Handle** made) { *made = new Handle{HANDLE}; return SUCCESS; }

API int cublasLtMatmulDescCreate(Product** made, int compute, int scale) {
    bool fits = scale == R_64F ? compute == COMPUTE_64F : scale == R_32F && (compute == COMPUTE_32F || compute == COMPUTE_32F_FAST_TF32);
    if (!fits) return INVALID_VALUE;
    *made = new Product{PRODUCT, compute, scale, 0, 0, EPILOGUE_DEFAULT, nullptr};
    return SUCCESS;
}
API int cublasLtMatmulDescDestroy(Product* product) { return destroy(product, PRODUCT); }
API int cublasLtMatmulDescSetAttribute(Product* product, int attribute, const void* value, size_t size) {
    if (!is(product, PRODUCT)) return INVALID_VALUE;
    switch (attribute) {
        case TRANSA: return set(product->transa, value, size);
        case TRANSB: return set(product->transb, value, size);
        case EPILOGUE: return set(product->epilogue, value, size);
        case BIAS_POINTER: return set(product->bias, value, size);
    }
    return INVALID_VALUE;
}

API int cublasLtMatrixLayoutCreate(Layout** made, int type, uint64_t rows, uint64_t cols, int64_t ld) {
    if ((type != R_32F && type != R_64F) || !rows || !cols || ld < int64_t(rows)) return INVALID_VALUE;
    *made = new Layout{LAYOUT, type, rows, cols, ld};
    return SUCCESS;
}
API int cublasLtMatrixLayoutDestroy(Layout* layout) { return destroy(layout, LAYOUT); }

API int cublasLtMatmulPreferenceCreate(Preference** made) {
    *made = new Preference{PREFERENCE, 0, {256, 256, 256, 256}};
    return SUCCESS;
}
API int cublasLtMatmulPreferenceDestroy(Preference* preference) { return destroy(preference, PREFERENCE); }
API int cublasLtMatmulPreferenceSetAttribute(Preference* preference, int attribute, const void* value, size_t size) {
    if (!is(preference, PREFERENCE)) return INVALID_VALUE;
    if (attribute == MAX_WORKSPACE_BYTES) return set(preference->workspace, value, size);
    if (attribute >= MIN_ALIGNMENT_A_BYTES && attribute <= MIN_ALIGNMENT_D_BYTES)
        return set(preference->alignment[attribute - MIN_ALIGNMENT_A_BYTES], value, size);
    return INVALID_VALUE;
}

static bool fits(const Product* p, const Layout* a, const Layout* b, const Layout* c, const Layout* d) {
    if (!is(p, PRODUCT) || !is(a, LAYOUT) || !is(b, LAYOUT) || !is(c, LAYOUT) || !is(d, LAYOUT)) return false;
    if (a->type != p->scale || b->type != p->scale || c->type != p->scale || d->type != p->scale) return false;
    uint64_t m = p->transa ? a->cols : a->rows, k = p->transa ? a->rows : a->cols;
    uint64_t n = p->transb ? b->rows : b->cols, inner = p->transb ? b->cols : b->rows;
    return k == inner && d->rows == m && d->cols == n && c->rows == m && c->cols == n &&
           (p->epilogue == EPILOGUE_DEFAULT || p->epilogue == EPILOGUE_BIAS);
}

static Algorithm asked(const Product* p, const Layout* a, const Layout* b, const Layout* d) {
    Algorithm made = {{uint64_t(p->compute), p->epilogue + 1000u * p->transa + 2000u * p->transb, a->rows, a->cols,
                       b->rows + 1000003 * b->cols, uint64_t(a->ld + 1000003 * (b->ld + 1009 * d->ld)), 0, 0}};
    return made;
}

API int cublasLtMatmulAlgoGetHeuristic(Handle* handle, const Product* product, const Layout* a, const Layout* b,
                                       const Layout* c, const Layout* d, const Preference* preference, int wanted,
                                       Heuristic* results, int* found) {
    if (!is(handle, HANDLE) || !is(preference, PREFERENCE) || !fits(product, a, b, c, d) || wanted < 1 || !results || !found)
        return INVALID_VALUE;
    uint64_t inner = product->transa ? a->rows : a->cols;
    uint64_t workspace = inner >= 4 * d->rows ? 16 * d->rows * d->cols : 0;  // as if the sum were cut into pieces
    if (workspace > preference->workspace) workspace = 0;
    memset(results, 0, sizeof *results);
    results->algorithm = asked(product, a, b, d);
    results->algorithm.data[6] = workspace;
    for (int i = 0; i < 4; i++) results->algorithm.data[7] |= uint64_t(preference->alignment[i]) << 16 * i;
    results->workspace = workspace;
    *found = 1;
    return SUCCESS;
}

static bool is_one(const void* value, int type) {
    return type == R_64F ? *static_cast<const double*>(value) == 1 : *static_cast<const float*>(value) == 1;
}
static bool is_zero(const void* value, int type) {
    return type == R_64F ? *static_cast<const double*>(value) == 0 : *static_cast<const float*>(value) == 0;
}

API int cublasLtMatmul(Handle* handle, const Product* product, const void* alpha, const void* a, const Layout* la,
                       const void* b, const Layout* lb, const void* beta, const void* c, const Layout* lc, void* d,
                       const Layout* ld, const Algorithm* algorithm, void* workspace, size_t size, void* stream) {
    if (!is(handle, HANDLE)) return NOT_INITIALIZED;
    if (!fits(product, la, lb, lc, ld) || !alpha || !beta || !a || !b || !c || !d || !algorithm) return INVALID_VALUE;
    if (!is_one(alpha, product->scale) || !is_zero(beta, product->scale)) return NOT_SUPPORTED;
    if ((product->epilogue == EPILOGUE_BIAS) != (product->bias != nullptr)) return INVALID_VALUE;
    Algorithm wanted = asked(product, la, lb, ld);
    if (memcmp(&wanted, algorithm, 6 * sizeof(uint64_t))) return NOT_SUPPORTED;
    const void* places[4] = {a, b, c, d};
    for (int i = 0; i < 4; i++)
        if (uintptr_t(places[i]) % (algorithm->data[7] >> 16 * i & 0xffff)) return NOT_SUPPORTED;
    if (algorithm->data[6] && (!workspace || size < algorithm->data[6] || uintptr_t(workspace) % 256)) return INVALID_VALUE;
    int64_t k = product->transa ? la->rows : la->cols;
    Job job = {product->scale, product->compute, product->transa, product->transb, int64_t(ld->rows), int64_t(ld->cols),
               k, la->ld, lb->ld, ld->ld, a, b, d, product->bias, workspace, algorithm->data[6], stream};
    return multiply(&job);
}
