// y = x * (bias + scale * sum of squares over a window of channels)^-beta; x and y have one layout.
//
// LRN: rows x channels x pixels; work-item (g0, g1) owns the pixels [g0 * PIXELS, (g0 + 1) * PIXELS) of
// channel g1 % channels of row g1 / channels. LRN_last: pixels x channels, work-item g owns the pixels
// [g * block, (g + 1) * block). Squares are added in ascending order of channels,
// sixteen outputs at a time where all their windows lie inside. No barrier.

#define PIXELS 256
#define ZERO ((COMPUTE)0)

__kernel void LRN(__global const STORAGE *x, const long x_start, __global STORAGE *y,
                  const long y_start, const long channels, const long pixels, const int before,
                  const int after, const float scale, const float beta, const float bias) {
  const long c = get_global_id(1) % channels, row = get_global_id(1) / channels;
  const long first = get_global_id(0) * PIXELS;
  const int w = (int)min((long)PIXELS, pixels - first);
  const long from = max(c - before, 0L), to = min(c + after, channels - 1);
  x += x_start + row * channels * pixels + first;
  y += y_start + (row * channels + c) * pixels + first;
  int done = 0;
  for (; done + 16 <= w; done += 16) {
    COMPUTE16 sum = (COMPUTE16)ZERO;
    for (long k = from; k <= to; ++k) {
      const COMPUTE16 v = LOAD16(x + k * pixels + done);
      sum += v * v;
    }
    const COMPUTE16 base = (COMPUTE)bias + (COMPUTE)scale * sum;
    STORE16(y + done, LOAD16(x + c * pixels + done) * POW(base, (COMPUTE16)(-(COMPUTE)beta)));
  }
  for (int j = done; j < w; ++j) {
    COMPUTE sum = ZERO;
    for (long k = from; k <= to; ++k) {
      const COMPUTE v = LOAD(x + k * pixels, j);
      sum += v * v;
    }
    const COMPUTE base = (COMPUTE)bias + (COMPUTE)scale * sum;
    STORE(y, j, LOAD(x + c * pixels, j) * POW(base, -(COMPUTE)beta));
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
      if (c >= before && c + 15 + after < channels) {
        COMPUTE16 sums = (COMPUTE16)ZERO;
        for (int k = -before; k <= after; ++k) {
          const COMPUTE16 v = LOAD16(p + c + k);
          sums += v * v;
        }
        const COMPUTE16 base = (COMPUTE)bias + (COMPUTE)scale * sums;
        STORE16(q + c, LOAD16(p + c) * POW(base, (COMPUTE16)(-(COMPUTE)beta)));
        c += 15;
        continue;
      }
      const long from = max(c - before, 0L), to = min(c + after, channels - 1);
      COMPUTE sum = ZERO;
      for (long k = from; k <= to; ++k) {
        const COMPUTE v = LOAD(p, k);
        sum += v * v;
      }
      STORE(q, c, LOAD(p, c) * POW((COMPUTE)bias + (COMPUTE)scale * sum, -(COMPUTE)beta));
    }
  }
}
