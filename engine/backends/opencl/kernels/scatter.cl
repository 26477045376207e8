// Writing by index into y, which holds a copy of the data already. INDEX is int or long.
//
// Every element of y belongs to one work-item, which applies its updates in row-major order: no
// atomics, the same result every time. Indices out of range are clamped (the reference raises).
// reduction: 0 none, 1 add, 2 mul, 3 max, 4 min; each partial result is stored, hence rounded.

inline long in_axis(long i, const long n) {
  if (i < 0) i += n;
  return clamp(i, 0L, n - 1);
}

#ifdef IS_INTEGER
#define IS_NAN(v) 0
#else
#define IS_NAN(v) ((v) != (v))
#endif

inline COMPUTE combined(const COMPUTE a, const COMPUTE b, const int reduction) {
  switch (reduction) {
    case 1: return a + b;
    case 2: return a * b;
    case 3: return a > b || IS_NAN(a) ? a : b;
    case 4: return a < b || IS_NAN(a) ? a : b;
    default: return b;
  }
}

// ScatterElements: work-item g owns line g of the index tensor along its axis. The lines have
// `shape` (rank axes); per axis i_strides (index and updates, dense) and y_strides.
__kernel void scatter_elements(__global const INDEX *index, const long index_start,
                               __global const STORAGE *updates, const long updates_start,
                               __global STORAGE *y, const long y_start, const int rank,
                               const dims_t shape, const dims_t i_strides, const dims_t y_strides,
                               const long count, const long i_step, const long extent,
                               const long y_step, const int reduction) {
  const long line = get_global_id(0);
  const long i0 = row_offset(line, rank, shape, i_strides);
  const long y0 = y_start + row_offset(line, rank, shape, y_strides);
  for (long k = 0; k < count; ++k) {
    const long from = i0 + k * i_step;
    const long to = y0 + in_axis(index[index_start + from], extent) * y_step;
    const COMPUTE v = LOAD(updates, updates_start + from);
    STORE(y, to, combined(LOAD(y, to), v, reduction));
  }
}

// ScatterND: work-item g owns the elements [g * piece, (g + 1) * piece) of every slice of `inner`
// elements; index holds `count` tuples of `depth` entries, as in gather.cl.
__kernel void scatter_slices(__global const INDEX *index, const long index_start,
                             __global const STORAGE *updates, const long updates_start,
                             __global STORAGE *y, const long y_start, const long count,
                             const long inner, const int depth, const dims_t extents,
                             const dims_t steps, const long piece, const int reduction) {
  const long begin = (long)get_global_id(0) * piece, n = min(piece, inner - begin);
  for (long j = 0; j < count; ++j) {
    long to = y_start + begin;
    for (int k = 0; k < depth; ++k)
      to += in_axis(index[index_start + j * depth + k], extents.a[k]) * steps.a[k];
    const long from = updates_start + j * inner + begin;
    for (long i = 0; i < n; ++i)
      STORE(y, to + i, combined(LOAD(y, to + i), LOAD(updates, from + i), reduction));
  }
}
