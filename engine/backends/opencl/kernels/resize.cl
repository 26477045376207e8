// Resize along three axes at most, called d, h and w; those that are missing have extent 1.
//
// One work-item owns one (kept, d, h) of y and walks along w, `run` contiguous elements at a time.
// No local memory, no barrier.
//
// Parameters that both kernels take:
//   index    source positions along d, h and w, one table after the other: for axis a,
//            outputs.a[a] * taps.a[a] entries, inside the input; -1 where y is *beyond instead
//   outputs  extents of y along the three
//   x_steps, y_steps  elements between neighbours along them
//   rank, kept, x_kept, y_kept  how many axes stay (without the run), their extents and strides

// Moves x and y to the first element of the work-item's row, and declares d and h.
#define FIND_ROW                                                                            \
  const long row = get_global_id(0);                                                        \
  const long h = row % outputs.a[1], above = row / outputs.a[1];                            \
  const long d = above % outputs.a[0], n = above / outputs.a[0];                            \
  x += x_start + row_offset(n, rank, kept, x_kept);                                         \
  y += y_start + row_offset(n, rank, kept, y_kept) + d * y_steps.a[0] + h * y_steps.a[1];

#ifdef ELEMENT
// Every element is a copy of one of x.
__kernel void resize_nearest(__global const ELEMENT *x, const long x_start,
                             __global const int *index, const long index_start,
                             __global const ELEMENT *beyond, const long beyond_start,
                             __global ELEMENT *y, const long y_start, const dims_t outputs,
                             const dims_t x_steps, const dims_t y_steps, const int rank,
                             const dims_t kept, const dims_t x_kept, const dims_t y_kept,
                             const long run) {
  FIND_ROW
  __global const int *at = index + index_start;
  const long id = at[d], ih = at[outputs.a[0] + h];
  at += outputs.a[0] + outputs.a[1];
  x += id * x_steps.a[0] + ih * x_steps.a[1];
  for (long w = 0; w < outputs.a[2]; ++w, y += y_steps.a[2])
    if (id < 0 || ih < 0 || at[w] < 0)
      fill_run(y, beyond[beyond_start], run);
    else
      copy_run(y, x + at[w] * x_steps.a[2], run);
}
#else

// One element, or 16: the sum over the taps of d, h and w (innermost) of weight * x.
#define BLEND(TYPE, READ)                                                                   \
  TYPE acc = (TYPE)0;                                                                       \
  for (int i = 0; i < taps.a[0]; ++i) {                                                     \
    TYPE plane = (TYPE)0;                                                                   \
    for (int j = 0; j < taps.a[1]; ++j) {                                                   \
      __global const STORAGE *in = x + id[i] * x_steps.a[0] + ih[j] * x_steps.a[1] + c;     \
      TYPE line = (TYPE)0;                                                                  \
      for (int k = 0; k < taps.a[2]; ++k) {                                                 \
        __global const STORAGE *p = in + iw[k] * x_steps.a[2];                              \
        line += ww[k] * READ;                                                               \
      }                                                                                     \
      plane += wh[j] * line;                                                                \
    }                                                                                       \
    acc += wd[i] * plane;                                                                   \
  }

// `weight` is laid out like `index`. COMPUTE is at least float. A run goes 16 at a time; the last 16
// overlap the ones before where it is not a multiple, fewer than 16 go one by one.
__kernel void resize_weighted(__global const STORAGE *x, const long x_start,
                              __global const int *index, const long index_start,
                              __global const STORAGE *beyond, const long beyond_start,
                              __global STORAGE *y, const long y_start, const dims_t outputs,
                              const dims_t x_steps, const dims_t y_steps, const int rank,
                              const dims_t kept, const dims_t x_kept, const dims_t y_kept,
                              const long run, __global const COMPUTE *weight,
                              const long weight_start, const dims_t taps) {
  FIND_ROW
  const long on_d = d * taps.a[0], on_h = outputs.a[0] * taps.a[0] + h * taps.a[1];
  const long on_w = outputs.a[0] * taps.a[0] + outputs.a[1] * taps.a[1];
  __global const int *id = index + index_start + on_d, *ih = index + index_start + on_h;
  __global const int *iw = index + index_start + on_w;
  __global const COMPUTE *wd = weight + weight_start + on_d, *wh = weight + weight_start + on_h;
  __global const COMPUTE *ww = weight + weight_start + on_w;
  for (long w = 0; w < outputs.a[2]; ++w) {
    if (id[0] < 0 || ih[0] < 0 || iw[0] < 0) {
      for (long c = 0; c < run; ++c) STORE(y, c, LOAD(beyond, beyond_start));
    } else if (run >= 16) {
      for (long block_c = 0; block_c < run; block_c += 16) {
        const long c = min(block_c, run - 16);
        BLEND(COMPUTE16, LOAD16(p))
        STORE16(y + c, acc);
      }
    } else {
      for (long c = 0; c < run; ++c) {
        BLEND(COMPUTE, LOAD(p, 0))
        STORE(y, c, acc);
      }
    }
    y += y_steps.a[2];
    iw += taps.a[2];
    ww += taps.a[2];
  }
}
#endif
