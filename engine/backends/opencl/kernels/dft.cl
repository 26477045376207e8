// y (outer, made, inner, parts) = the discrete Fourier transform of the first `read` elements of each
// line of x (outer, extent, inner, given); given, parts: 1 for real numbers, 2 for complex ones.
//
// table: n times cosine and signed sine, scaled. mirrors: elements between the first and the middle
// of the n count twice, for their conjugates are not given. Work-item g owns the elements
// [g * block, (g + 1) * block) of y. COMPUTE is at least float. No local memory, no barrier.

__kernel void DFT(__global const STORAGE *x, const long x_start, __global const COMPUTE *table,
                  const long table_start, __global STORAGE *y, const long y_start, const long n,
                  const long extent, const long read, const long made, const long inner,
                  const long count, const long block, const int given, const int parts,
                  const int mirrors) {
  const long begin = get_global_id(0) * block, end = min(count, begin + block);
  __global const COMPUTE *root = table + table_start;
  for (long g = begin; g < end; ++g) {
    const long i = g % inner, k = g / inner % made, o = g / inner / made;
    const long step = k % n;
    COMPUTE real = 0, imaginary = 0;
    for (long t = 0, at = 0; t < read; ++t) {
      const long p = x_start + ((o * extent + t) * inner + i) * given;
      const COMPUTE weight = mirrors && t > 0 && 2 * t != n ? 2 : 1;
      const COMPUTE re = weight * LOAD(x, p), im = given == 2 ? weight * LOAD(x, p + 1) : 0;
      const COMPUTE c = root[2 * at], s = root[2 * at + 1];
      real += re * c - im * s;
      imaginary += re * s + im * c;
      at += step;
      at -= at >= n ? n : 0;
    }
    STORE(y, y_start + g * parts, real);
    if (parts == 2) STORE(y, y_start + g * parts + 1, imaginary);
  }
}
