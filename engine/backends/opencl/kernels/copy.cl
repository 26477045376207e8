// y[walk] = x[walk] from half to float, or (TO_HALF) from float to half, where finite values
// saturate at the largest half, as they do on the host. Needs no cl_khr_fp16.
//
// The space has `rank` outer axes (shape, x_strides, y_strides; row-major) and one inner axis of n
// elements, xa and ya apart. Work-item (i, k) owns the `run` elements from i * run in outer row k.

#ifdef TO_HALF
#define HALF_MAX 65504.0f
#define IN float
#define OUT half
#define SATURATED(v) select((v), clamp((v), -HALF_MAX, HALF_MAX), isfinite(v))
#define MOVE(x, y) vstore_half_rte(saturated(*(x)), 0, (y))
#define MOVE16(x, y) vstore_half16_rte(saturated16(vload16(0, (x))), 0, (y))

inline float saturated(const float v) { return SATURATED(v); }
inline float16 saturated16(const float16 v) { return SATURATED(v); }
#else
#define IN half
#define OUT float
#define MOVE(x, y) *(y) = vload_half(0, (x))
#define MOVE16(x, y) vstore16(vload_half16(0, (x)), 0, (y))
#endif

__kernel void convert(__global const IN *x, const long x_start, __global OUT *y,
                      const long y_start, const int rank, const dims_t shape,
                      const dims_t x_strides, const dims_t y_strides, const long n,
                      const long xa, const long ya, const int run) {
  const long row = get_global_id(1), first = (long)get_global_id(0) * run;
  const int count = (int)min((long)run, n - first);
  x += x_start + row_offset(row, rank, shape, x_strides) + first * xa;
  y += y_start + row_offset(row, rank, shape, y_strides) + first * ya;
  int i = 0;
  if (xa == 1 && ya == 1)
    for (; i + 16 <= count; i += 16) MOVE16(x + i, y + i);
  for (; i < count; ++i) MOVE(x + i * xa, y + i * ya);
}
