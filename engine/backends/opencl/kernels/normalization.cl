// Normalizations: y = (x - mean) * rsqrt(variance + epsilon) * scale + bias.
//
// By rows: x is rows x n, row-major; work-item g owns the rows [g * block, (g + 1) * block). Three
// passes: m0 = sum x / n; then c = sum (x - m0) / n and variance = sum (x - m0)^2 / n - c^2; then y
// from d = (x - m0) - c. Sums use sixteen interleaved accumulators (element i to i % 16) and one for
// the last n % 16 elements, then halves onto halves. No barrier, no local memory.
// has_bias 0: bias is not read.

#define COLUMNS 256
#define ZERO ((COMPUTE)0)

typedef struct {
  COMPUTE m0, c, r;  // first mean, its correction, 1 / sqrt(variance + epsilon)
} statistics_t;

inline COMPUTE sum_of_lanes(const COMPUTE16 wide) {
  const CAT(COMPUTE, 8) a8 = wide.lo + wide.hi;
  const CAT(COMPUTE, 4) a4 = a8.lo + a8.hi;
  const CAT(COMPUTE, 2) a2 = a4.lo + a4.hi;
  return a2.x + a2.y;
}

inline statistics_t statistics(__global const STORAGE *x, const long n, const COMPUTE epsilon) {
  COMPUTE16 wide = (COMPUTE16)(ZERO), squares = (COMPUTE16)(ZERO);
  COMPUTE sum = ZERO, square = ZERO;
  long i = 0;
  for (; i + 16 <= n; i += 16) wide += LOAD16(x + i);
  for (; i < n; ++i) sum += LOAD(x, i);
  statistics_t result;
  result.m0 = (sum_of_lanes(wide) + sum) / (COMPUTE)n;
  wide = (COMPUTE16)(ZERO);
  sum = ZERO;
  for (i = 0; i + 16 <= n; i += 16) {
    const COMPUTE16 d = LOAD16(x + i) - result.m0;
    wide += d;
    squares += d * d;
  }
  for (; i < n; ++i) {
    const COMPUTE d = LOAD(x, i) - result.m0;
    sum += d;
    square += d * d;
  }
  result.c = (sum_of_lanes(wide) + sum) / (COMPUTE)n;
  const COMPUTE spread = (sum_of_lanes(squares) + square) / (COMPUTE)n - result.c * result.c;
  result.r = rsqrt((spread < ZERO ? ZERO : spread) + epsilon);
  return result;
}

// scale and bias per element of the row. With stats, mean and inverse get one element per row.
__kernel void LayerNormalization(
    __global const STORAGE *x, const long x_start, __global const STORAGE *scale,
    const long scale_start, __global const STORAGE *bias, const long bias_start,
    __global STORAGE *y, const long y_start, __global STORAGE *mean, const long mean_start,
    __global STORAGE *inverse, const long inverse_start, const long rows, const long n,
    const long block, const float epsilon, const int has_bias, const int stats) {
  const long first = get_global_id(0) * block, end = min(rows, first + block);
  scale += scale_start;
  bias += bias_start;
  for (long row = first; row < end; ++row) {
    __global const STORAGE *p = x + x_start + row * n;
    __global STORAGE *q = y + y_start + row * n;
    const statistics_t s = statistics(p, n, (COMPUTE)epsilon);
    long i = 0;
    if (has_bias) {
      for (; i + 16 <= n; i += 16)
        STORE16(q + i,
                ((LOAD16(p + i) - s.m0) - s.c) * s.r * LOAD16(scale + i) + LOAD16(bias + i));
      for (; i < n; ++i)
        STORE(q, i, ((LOAD(p, i) - s.m0) - s.c) * s.r * LOAD(scale, i) + LOAD(bias, i));
    } else {
      for (; i + 16 <= n; i += 16)
        STORE16(q + i, ((LOAD16(p + i) - s.m0) - s.c) * s.r * LOAD16(scale + i));
      for (; i < n; ++i) STORE(q, i, ((LOAD(p, i) - s.m0) - s.c) * s.r * LOAD(scale, i));
    }
    if (stats) {
      STORE(mean, mean_start + row, s.m0 + s.c);
      STORE(inverse, inverse_start + row, s.r);
    }
  }
}

inline COMPUTE sum_of_squares(__global const STORAGE *x, const long n) {
  COMPUTE16 wide = (COMPUTE16)(ZERO);
  COMPUTE sum = ZERO;
  long i = 0;
  for (; i + 16 <= n; i += 16) {
    const COMPUTE16 v = LOAD16(x + i);
    wide += v * v;
  }
  for (; i < n; ++i) sum += LOAD(x, i) * LOAD(x, i);
  return sum_of_lanes(wide) + sum;
}

// y = x * rsqrt(sum x^2 / n + epsilon) * scale. by_column: scale is per element of the row; else it
// is broadcast to x, whose axes have the extents `shape`, by `strides`.
__kernel void RMSNormalization(__global const STORAGE *x, const long x_start,
                               __global const STORAGE *scale, const long scale_start,
                               __global STORAGE *y, const long y_start, const long rows,
                               const long n, const long block, const float epsilon,
                               const int by_column, const int rank, const dims_t shape,
                               const dims_t strides) {
  const long first = get_global_id(0) * block, end = min(rows, first + block);
  scale += scale_start;
  for (long row = first; row < end; ++row) {
    __global const STORAGE *p = x + x_start + row * n;
    __global STORAGE *q = y + y_start + row * n;
    const COMPUTE r = rsqrt(sum_of_squares(p, n) / (COMPUTE)n + (COMPUTE)epsilon);
    long i = 0;
    if (by_column) {
      for (; i + 16 <= n; i += 16) STORE16(q + i, LOAD16(p + i) * r * LOAD16(scale + i));
      for (; i < n; ++i) STORE(q, i, LOAD(p, i) * r * LOAD(scale, i));
    } else {
      for (; i < n; ++i) {
        const long at = row_offset(row * n + i, rank, shape, strides);
        STORE(q, i, LOAD(p, i) * r * LOAD(scale, at));
      }
    }
  }
}

// A row is `channels` channels of `pixels` elements; scale and bias per channel, and row r starts at
// channel r % period * channels. Instance: channels = 1, period = C. Group: period = groups.
__kernel void GroupNormalization(__global const STORAGE *x, const long x_start,
                                 __global const STORAGE *scale, const long scale_start,
                                 __global const STORAGE *bias, const long bias_start,
                                 __global STORAGE *y, const long y_start, const long period,
                                 const long channels, const long pixels, const float epsilon) {
  const long row = get_global_id(0), n = channels * pixels;
  const statistics_t s = statistics(x + x_start + row * n, n, (COMPUTE)epsilon);
  for (long k = 0; k < channels; ++k) {
    const long channel = row % period * channels + k, at = row * n + k * pixels;
    __global const STORAGE *p = x + x_start + at;
    __global STORAGE *q = y + y_start + at;
    const COMPUTE g = LOAD(scale, scale_start + channel), b = LOAD(bias, bias_start + channel);
    long i = 0;
    for (; i + 16 <= pixels; i += 16)
      STORE16(q + i, ((LOAD16(p + i) - s.m0) - s.c) * s.r * g + b);
    for (; i < pixels; ++i) STORE(q, i, ((LOAD(p, i) - s.m0) - s.c) * s.r * g + b);
  }
}

#define BATCH_ARGUMENTS                                                                      \
  __global const STORAGE *x, const long x_start, __global const STORAGE *scale,              \
      const long scale_start, __global const STORAGE *bias, const long bias_start,           \
      __global const STORAGE *mean, const long mean_start, __global const STORAGE *variance, \
      const long variance_start, __global STORAGE *y, const long y_start, const long rows,   \
      const long channels, const long pixels, const long piece, const float epsilon

// x is rows x channels x pixels; work-item (g0, g1) owns pixels [g0 * piece, (g0 + 1) * piece) of
// channel g1 % channels of row g1 / channels.
__kernel void BatchNormalization(BATCH_ARGUMENTS) {
  const long k = get_global_id(1) % channels, first = get_global_id(0) * piece;
  const int n = (int)min(piece, pixels - first);
  const COMPUTE m = LOAD(mean, mean_start + k), b = LOAD(bias, bias_start + k);
  const COMPUTE r = rsqrt(LOAD(variance, variance_start + k) + (COMPUTE)epsilon);
  const COMPUTE g = LOAD(scale, scale_start + k) * r;
  __global const STORAGE *p = x + x_start + get_global_id(1) * pixels + first;
  __global STORAGE *q = y + y_start + get_global_id(1) * pixels + first;
  int i = 0;
  for (; i + 16 <= n; i += 16) STORE16(q + i, (LOAD16(p + i) - m) * g + b);
  for (; i < n; ++i) STORE(q, i, (LOAD(p, i) - m) * g + b);
}

// The same with pixels = 1 (channels vary fastest): work-item (g0, g1) owns the channels
// [g0 * COLUMNS, (g0 + 1) * COLUMNS) of rows [g1 * piece, (g1 + 1) * piece).
__kernel void BatchNormalization_last(BATCH_ARGUMENTS) {
  const long k0 = get_global_id(0) * COLUMNS, row0 = get_global_id(1) * piece;
  const int w = (int)min((long)COLUMNS, channels - k0);
  const long end = min(rows, row0 + piece);
  COMPUTE m[COLUMNS], g[COLUMNS], b[COLUMNS];
  for (int j = 0; j < w; ++j) {
    m[j] = LOAD(mean, mean_start + k0 + j);
    b[j] = LOAD(bias, bias_start + k0 + j);
    g[j] = LOAD(scale, scale_start + k0 + j) *
           rsqrt(LOAD(variance, variance_start + k0 + j) + (COMPUTE)epsilon);
  }
  for (long row = row0; row < end; ++row) {
    __global const STORAGE *p = x + x_start + row * channels + k0;
    __global STORAGE *q = y + y_start + row * channels + k0;
    int j = 0;
    for (; j + 16 <= w; j += 16)
      STORE16(q + j, (LOAD16(p + j) - vload16(0, m + j)) * vload16(0, g + j) + vload16(0, b + j));
    for (; j < w; ++j) STORE(q, j, (LOAD(p, j) - m[j]) * g[j] + b[j]);
  }
}
