// Running sums along the middle axis of a dense (outer, n, inner) tensor.
//
// One work-item owns one line of n elements, `inner` apart, and sums it from its first element (its
// last one with reverse); exclusive leaves the element itself out. COMPUTE is at least float.
// No local memory, no barrier.

__kernel void cumsum(__global const STORAGE *x, const long x_start, __global STORAGE *y,
                     const long y_start, const long n, const long inner, const int exclusive,
                     const int reverse) {
  const long i = get_global_id(0), o = get_global_id(1);
  const long step = reverse ? -inner : inner;
  const long first = (o * n + (reverse ? n - 1 : 0)) * inner + i;
  COMPUTE sum = 0;
  for (long k = 0; k < n; ++k) {
    const COMPUTE v = LOAD(x, x_start + first + k * step);
    STORE(y, y_start + first + k * step, exclusive ? sum : sum + v);
    sum += v;
  }
}
