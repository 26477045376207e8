// Running totals along the middle axis of a dense (outer, n, inner) tensor.
//
// One work-item owns one line of n elements, `inner` apart, and takes it from its first element (its
// last one with reverse); exclusive leaves the element itself out. COMPUTE is at least float.
// No local memory, no barrier.

#define RUNNING(NAME, FIRST, NEXT)                                                               \
  __kernel void NAME(__global const STORAGE *x, const long x_start, __global STORAGE *y,         \
                     const long y_start, const long n, const long inner, const int exclusive,    \
                     const int reverse) {                                                        \
    const long i = get_global_id(0), o = get_global_id(1);                                       \
    const long step = reverse ? -inner : inner;                                                  \
    const long first = (o * n + (reverse ? n - 1 : 0)) * inner + i;                              \
    COMPUTE total = FIRST;                                                                       \
    for (long k = 0; k < n; ++k) {                                                               \
      const COMPUTE v = LOAD(x, x_start + first + k * step), next = NEXT;                        \
      STORE(y, y_start + first + k * step, exclusive ? total : next);                            \
      total = next;                                                                              \
    }                                                                                            \
  }

RUNNING(CumSum, 0, total + v)
RUNNING(CumProd, 1, total * v)
