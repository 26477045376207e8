// Pairs (a, b) of a head become (a cos - b sin, a sin + b cos); the rest is copied.
//
// One work-item owns a token, with all its heads. Global size: (sequence, batch).
//   x, y          element (b, s, h, i) is at b steps.s0 + s steps.s1 + h steps.s2 + i
//   cosine, sine  (batch, sequence, pairs), dense
//   size          heads, elements of a head, pairs, unused
//   interleaved   partners are neighbours; else they lie `pairs` elements apart

__kernel void RotaryEmbedding(__global const STORAGE *x, const long x_start,
                              __global const STORAGE *cosine, const long cosine_start,
                              __global const STORAGE *sine, const long sine_start,
                              __global STORAGE *y, const long y_start, const long4 steps,
                              const int4 size, const int interleaved) {
  const long s = get_global_id(0), b = get_global_id(1), pairs = size.s2;
  const long token = b * steps.s0 + s * steps.s1, row = (b * get_global_size(0) + s) * pairs;
  const int apart = interleaved ? 1 : pairs, step = interleaved ? 2 : 1;
  cosine += cosine_start + row;
  sine += sine_start + row;
  for (int h = 0; h < size.s0; ++h) {
    __global const STORAGE *p = x + x_start + token + h * steps.s2;
    __global STORAGE *q = y + y_start + token + h * steps.s2;
    int i = 0;
    if (!interleaved) {
      for (; i + 16 <= pairs; i += 16) {
        const COMPUTE16 c = LOAD16(cosine + i), d = LOAD16(sine + i);
        const COMPUTE16 v = LOAD16(p + i), w = LOAD16(p + apart + i);
        STORE16(q + i, v * c - w * d);
        STORE16(q + apart + i, v * d + w * c);
      }
    }
    for (; i < pairs; ++i) {
      const COMPUTE c = LOAD(cosine, i), d = LOAD(sine, i);
      const COMPUTE v = LOAD(p, i * step), w = LOAD(p, i * step + apart);
      STORE(q, i * step, v * c - w * d);
      STORE(q, i * step + apart, v * d + w * c);
    }
    for (i = 2 * pairs; i < size.s1; ++i) STORE(q, i, LOAD(p, i));
  }
}
