// Pooling of channels-last tensors: x (N, D, H, W, C), y (N, d, h, w, C); missing axes have extent 1.
//
// COMPUTE is at least float, so a sum of halves neither overflows nor loses its small terms.
// Channels go 16 at a time; where C is not a multiple, the last 16 overlap the ones before, and
// fewer than 16 go one by one. No local memory, no barrier.

#ifdef IS_INTEGER
#define LARGER(a, v) max(a, v)
#define LARGER_ONE(a, v) max(a, v)
#else
#define LOWEST -INFINITY
// NaN stays.
#define LARGER(a, v) select(a, v, (v > a) | (v != v))
inline COMPUTE larger(const COMPUTE a, const COMPUTE v) { return v > a || v != v ? v : a; }
#define LARGER_ONE(a, v) larger(a, v)
#endif
#define SUM(a, v) ((a) + (v))
#define AS_IS(T, a, n) (a)
#define MEAN(T, a, n) ((a) / (T)(n))
#define SUM_ONE(a, v) ((a) + (v))

typedef struct { int from, to, counted; long start; } taps_t;

// The taps [from, to) of output o that fall into the input, and how many fall into input or padding.
inline taps_t taps_at(const int o, const int k, const int step, const int dilation, const int begin,
                      const int end, const int n) {
  taps_t t;
  t.start = (long)o * step - begin;
  const int s = (int)t.start;
  t.from = s >= 0 ? 0 : (-s + dilation - 1) / dilation;
  t.to = n > s ? min(k, (n - s + dilation - 1) / dilation) : 0;
  t.counted = n + end > s ? min(k, (n + end - s + dilation - 1) / dilation) : 0;
  return t;
}

// ACC = FIRST combined with all taps, row by row: the error of a sum grows with the sides of the
// window, not with its area.
#define OVER_TAPS(ACC, TYPE, FIRST, STEP_EXPRESSION, ROW_EXPRESSION)                        \
  for (int i = td.from; i < td.to; ++i)                                                     \
    for (int j = th.from; j < th.to; ++j) {                                                 \
      __global const STORAGE *in =                                                          \
          image + (((td.start + (long)i * dilations.a[0]) * sizes.a[1] + th.start +         \
                    (long)j * dilations.a[1]) * sizes.a[2] + tw.start) * channels + c;      \
      TYPE row = (TYPE)(FIRST);                                                             \
      for (int k = tw.from; k < tw.to; ++k) {                                               \
        __global const STORAGE *p = in + k * dilations.a[2] * channels;                     \
        row = STEP_EXPRESSION;                                                              \
      }                                                                                     \
      ACC = ROW_EXPRESSION;                                                                 \
    }

// One work-item owns `block` output pixels with all their channels. option, of averages: they divide
// by the positions in input and padding, otherwise by those in the input.
#define POOL(NAME, FIRST, STEP, FINISH)                                                     \
  __kernel void NAME(__global const STORAGE *x, const long x_start, __global STORAGE *y,    \
                     const long y_start, const dims_t sizes, const dims_t outputs,          \
                     const dims_t kernel_, const dims_t strides, const dims_t dilations,    \
                     const dims_t begins, const dims_t ends, const long channels,           \
                     const long pixels, const int block, const int option) {                \
    const long first = (long)get_global_id(0) * block, last = min(pixels, first + block);   \
    const long image_size = sizes.a[0] * sizes.a[1] * sizes.a[2] * channels;                \
    for (long pixel = first; pixel < last; ++pixel) {                                       \
      const long w = pixel % outputs.a[2], r = pixel / outputs.a[2];                        \
      const long h = r % outputs.a[1], q = r / outputs.a[1];                                \
      const long d = q % outputs.a[0], n = q / outputs.a[0];                                \
      const taps_t td = taps_at(d, kernel_.a[0], strides.a[0], dilations.a[0], begins.a[0], \
                                ends.a[0], sizes.a[0]);                                     \
      const taps_t th = taps_at(h, kernel_.a[1], strides.a[1], dilations.a[1], begins.a[1], \
                                ends.a[1], sizes.a[1]);                                     \
      const taps_t tw = taps_at(w, kernel_.a[2], strides.a[2], dilations.a[2], begins.a[2], \
                                ends.a[2], sizes.a[2]);                                     \
      const int inside = (td.to - td.from) * (th.to - th.from) * (tw.to - tw.from);         \
      const int count = max(1, option ? td.counted * th.counted * tw.counted : inside);\
      __global const STORAGE *image = x + x_start + n * image_size;                         \
      __global STORAGE *out = y + y_start + pixel * channels;                               \
      if (channels >= 16) {                                                                 \
        for (long block_c = 0; block_c < channels; block_c += 16) {                         \
          const long c = min(block_c, channels - 16);                                       \
          COMPUTE16 acc = (COMPUTE16)(FIRST);                                               \
          OVER_TAPS(acc, COMPUTE16, FIRST, STEP(row, LOAD16(p)), STEP(acc, row))           \
          STORE16(out + c, FINISH(COMPUTE16, acc, count));                                  \
        }                                                                                   \
      } else {                                                                              \
        for (long c = 0; c < channels; ++c) {                                               \
          COMPUTE acc = FIRST;                                                              \
          OVER_TAPS(acc, COMPUTE, FIRST, STEP##_ONE(row, LOAD(p, 0)), STEP##_ONE(acc, row))   \
          STORE(out, c, FINISH(COMPUTE, acc, count));                                       \
        }                                                                                   \
      }                                                                                     \
    }                                                                                       \
  }

// One work-item owns 16 channels of one image of `pixels` pixels (all, where C is below 16). Blocks of
// 64 pixels, each in four interleaved parts, keep the error of a sum of equal terms small.
#define OVER_PIXELS(ACC, TYPE, FIRST, COMBINE, READ)                                        \
  for (long from = 0; from < pixels; from += 64) {                                          \
    const long to = min(from + 64, pixels);                                                 \
    TYPE a0 = (TYPE)(FIRST), a1 = a0, a2 = a0, a3 = a0;                                     \
    long p = from;                                                                          \
    for (; p + 4 <= to; p += 4) {                                                           \
      a0 = COMBINE(a0, READ(p));                                                            \
      a1 = COMBINE(a1, READ(p + 1));                                                        \
      a2 = COMBINE(a2, READ(p + 2));                                                        \
      a3 = COMBINE(a3, READ(p + 3));                                                        \
    }                                                                                       \
    for (; p < to; ++p) a0 = COMBINE(a0, READ(p));                                          \
    a0 = COMBINE(a0, a1);                                                                   \
    a2 = COMBINE(a2, a3);                                                                   \
    ACC = COMBINE(ACC, COMBINE(a0, a2));                                                    \
  }
#define READ16(p) LOAD16(x + (p) * channels + c)
#define READ1(p) LOAD(x, (p) * channels + c)

#define GLOBAL(NAME, FIRST, STEP, FINISH)                                                   \
  __kernel void NAME(__global const STORAGE *x, const long x_start, __global STORAGE *y,    \
                     const long y_start, const long channels, const long pixels) {          \
    const long n = get_global_id(1);                                                        \
    x += x_start + n * pixels * channels;                                                   \
    y += y_start + n * channels;                                                            \
    if (channels >= 16) {                                                                   \
      const long c = min((long)get_global_id(0) * 16, channels - 16);                       \
      COMPUTE16 acc = (COMPUTE16)(FIRST);                                                   \
      OVER_PIXELS(acc, COMPUTE16, FIRST, STEP, READ16)                                      \
      STORE16(y + c, FINISH(COMPUTE16, acc, pixels));                                       \
    } else {                                                                                \
      for (long c = 0; c < channels; ++c) {                                                 \
        COMPUTE acc = FIRST;                                                                \
        OVER_PIXELS(acc, COMPUTE, FIRST, STEP##_ONE, READ1)                                 \
        STORE(y, c, FINISH(COMPUTE, acc, pixels));                                          \
      }                                                                                     \
    }                                                                                       \
  }

POOL(MaxPool, LOWEST, LARGER, AS_IS)

// MaxPool that also tells where in x the first maximum of each window stands, -1 where a window holds
// no element: images one after the other, each row by row, or with by_columns by columns.
__kernel void MaxPoolWithIndices(__global const STORAGE *x, const long x_start,
                                 __global STORAGE *y, const long y_start,
                                 __global long *places, const long places_start,
                                 const dims_t sizes, const dims_t outputs, const dims_t kernel_,
                                 const dims_t strides, const dims_t dilations, const dims_t begins,
                                 const dims_t ends, const long channels, const long pixels,
                                 const int block, const int by_columns) {
  const long first = (long)get_global_id(0) * block, last = min(pixels, first + block);
  const long image_size = sizes.a[0] * sizes.a[1] * sizes.a[2];
  for (long at = first * channels; at < last * channels; ++at) {
    const long pixel = at / channels, c = at - pixel * channels;
    const long w = pixel % outputs.a[2], r = pixel / outputs.a[2];
    const long h = r % outputs.a[1], q = r / outputs.a[1];
    const long d = q % outputs.a[0], n = q / outputs.a[0];
    const taps_t td = taps_at(d, kernel_.a[0], strides.a[0], dilations.a[0], begins.a[0],
                              ends.a[0], sizes.a[0]);
    const taps_t th = taps_at(h, kernel_.a[1], strides.a[1], dilations.a[1], begins.a[1],
                              ends.a[1], sizes.a[1]);
    const taps_t tw = taps_at(w, kernel_.a[2], strides.a[2], dilations.a[2], begins.a[2],
                              ends.a[2], sizes.a[2]);
    COMPUTE best = LOWEST;
    long place = -1;
    for (int i = td.from; i < td.to; ++i)
      for (int j = th.from; j < th.to; ++j)
        for (int k = tw.from; k < tw.to; ++k) {
          const long id = td.start + (long)i * dilations.a[0];
          const long ih = th.start + (long)j * dilations.a[1];
          const long iw = tw.start + (long)k * dilations.a[2];
          const long by_rows = (id * sizes.a[1] + ih) * sizes.a[2] + iw;
          const COMPUTE v = LOAD(x, x_start + (n * image_size + by_rows) * channels + c);
          if (place < 0 || v > best || (v != v && best == best)) {
            best = v;
            place = by_columns ? id + sizes.a[0] * (ih + sizes.a[1] * iw) : by_rows;
          }
        }
    STORE(y, y_start + at, best);
    places[places_start + at] = place < 0 ? -1 : (n * channels + c) * image_size + place;
  }
}
#ifndef IS_INTEGER
POOL(AveragePool, 0, SUM, MEAN)
GLOBAL(GlobalMaxPool, LOWEST, LARGER, AS_IS)
GLOBAL(GlobalAveragePool, 0, SUM, MEAN)
#endif
