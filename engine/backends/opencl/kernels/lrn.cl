// y = x * (bias + scale * sum of squares over a window of channels)^-beta; x and y have one layout.
//
// LRN: rows x channels x pixels; work-item (g0, g1) owns the pixels [g0 * PIXELS, (g0 + 1) * PIXELS) of
// channel g1 % channels of row g1 / channels. LRN_last: pixels x channels, work-item g owns the pixels
// [g * block, (g + 1) * block). Squares are added in ascending order of channels. No barrier.

#define PIXELS 256
#define ZERO ((COMPUTE)0)

__kernel void LRN(__global const STORAGE *x, const long x_start, __global STORAGE *y,
                  const long y_start, const long channels, const long pixels, const int before,
                  const int after, const float scale, const float beta, const float bias) {
  const long c = get_global_id(1) % channels, row = get_global_id(1) / channels;
  const long first = get_global_id(0) * PIXELS;
  const int w = (int)min((long)PIXELS, pixels - first);
  const long from = max(c - before, 0L), to = min(c + after, channels - 1);
  COMPUTE sums[PIXELS];
  x += x_start + row * channels * pixels + first;
  y += y_start + (row * channels + c) * pixels + first;
  for (int j = 0; j < w; ++j) sums[j] = ZERO;
  for (long k = from; k <= to; ++k)
    for (int j = 0; j < w; ++j) {
      const COMPUTE v = LOAD(x + k * pixels, j);
      sums[j] += v * v;
    }
  for (int j = 0; j < w; ++j) {
    const COMPUTE base = (COMPUTE)bias + (COMPUTE)scale * sums[j];
    STORE(y, j, LOAD(x + c * pixels, j) * pow(base, -(COMPUTE)beta));
  }
}

__kernel void LRN_last(__global const STORAGE *x, const long x_start, __global STORAGE *y,
                       const long y_start, const long channels, const long pixels,
                       const int before, const int after, const float scale, const float beta,
                       const float bias, const long block) {
  const long begin = get_global_id(0) * block, end = min(pixels, begin + block);
  for (long pixel = begin; pixel < end; ++pixel) {
    __global const STORAGE *p = x + x_start + pixel * channels;
    __global STORAGE *q = y + y_start + pixel * channels;
    for (long c = 0; c < channels; ++c) {
      const long from = max(c - before, 0L), to = min(c + after, channels - 1);
      COMPUTE sum = ZERO;
      for (long k = from; k <= to; ++k) {
        const COMPUTE v = LOAD(p, k);
        sum += v * v;
      }
      STORE(q, c, LOAD(p, c) * pow((COMPUTE)bias + (COMPUTE)scale * sum, -(COMPUTE)beta));
    }
  }
}
