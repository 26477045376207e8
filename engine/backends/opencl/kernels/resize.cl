// Resize of channels-last tensors: x (N, D, H, W, C), y (N, d, h, w, C); missing axes have extent 1.
//
// `index` holds the source positions of all three axes, one table after the other: for axis a,
// outputs.a[a] * taps.a[a] entries, all inside the input. One work-item owns one row (n, d, h) of y.
// No local memory, no barrier.

#ifdef ELEMENT
// Every output pixel is a copy of one input pixel.
__kernel void resize_nearest(__global const ELEMENT *x, const long x_start,
                             __global const int *index, const long index_start,
                             __global ELEMENT *y, const long y_start, const dims_t sizes,
                             const dims_t outputs, const long channels) {
  const long row = get_global_id(0);
  const long h = row % outputs.a[1], q = row / outputs.a[1];
  const long d = q % outputs.a[0], n = q / outputs.a[0];
  __global const int *at = index + index_start;
  const long id = at[d], ih = at[outputs.a[0] + h];
  at += outputs.a[0] + outputs.a[1];
  __global const ELEMENT *in =
      x + x_start + ((n * sizes.a[0] + id) * sizes.a[1] + ih) * sizes.a[2] * channels;
  __global ELEMENT *out = y + y_start + row * outputs.a[2] * channels;
  for (long w = 0; w < outputs.a[2]; ++w, out += channels)
    copy_run(out, in + at[w] * channels, channels);
}
#else

// One pixel: sum over the taps of D, H and W (innermost) of weight * x.
#define BLEND(TYPE, READ)                                                                   \
  TYPE acc = (TYPE)0;                                                                       \
  for (int i = 0; i < taps.a[0]; ++i) {                                                     \
    TYPE plane = (TYPE)0;                                                                   \
    for (int j = 0; j < taps.a[1]; ++j) {                                                   \
      __global const STORAGE *in = image + (id[i] * sizes.a[1] + ih[j]) * sizes.a[2] * channels + c; \
      TYPE line = (TYPE)0;                                                                  \
      for (int k = 0; k < taps.a[2]; ++k) {                                                 \
        __global const STORAGE *p = in + iw[k] * channels;                                  \
        line += ww[k] * READ;                                                               \
      }                                                                                     \
      plane += wh[j] * line;                                                                \
    }                                                                                       \
    acc += wd[i] * plane;                                                                   \
  }

// `weight` is laid out like `index`. COMPUTE is at least float. Channels go 16 at a time; the last
// 16 overlap the ones before where C is not a multiple, fewer than 16 go one by one.
__kernel void resize_weighted(__global const STORAGE *x, const long x_start,
                              __global const int *index, const long index_start,
                              __global const COMPUTE *weight, const long weight_start,
                              __global STORAGE *y, const long y_start, const dims_t sizes,
                              const dims_t outputs, const dims_t taps, const long channels) {
  const long row = get_global_id(0);
  const long h = row % outputs.a[1], q = row / outputs.a[1];
  const long d = q % outputs.a[0], n = q / outputs.a[0];
  const long on_d = d * taps.a[0], on_h = outputs.a[0] * taps.a[0] + h * taps.a[1];
  const long on_w = outputs.a[0] * taps.a[0] + outputs.a[1] * taps.a[1];
  __global const int *id = index + index_start + on_d, *ih = index + index_start + on_h;
  __global const int *iw = index + index_start + on_w;
  __global const COMPUTE *wd = weight + weight_start + on_d, *wh = weight + weight_start + on_h;
  __global const COMPUTE *ww = weight + weight_start + on_w;
  __global const STORAGE *image =
      x + x_start + n * sizes.a[0] * sizes.a[1] * sizes.a[2] * channels;
  __global STORAGE *out = y + y_start + row * outputs.a[2] * channels;
  for (long w = 0; w < outputs.a[2]; ++w) {
    if (channels >= 16) {
      for (long block_c = 0; block_c < channels; block_c += 16) {
        const long c = min(block_c, channels - 16);
        BLEND(COMPUTE16, LOAD16(p))
        STORE16(out + c, acc);
      }
    } else {
      for (long c = 0; c < channels; ++c) {
        BLEND(COMPUTE, LOAD(p, 0))
        STORE(out, c, acc);
      }
    }
    out += channels;
    iw += taps.a[2];
    ww += taps.a[2];
  }
}
#endif
