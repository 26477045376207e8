// y (N, C, points) = x (N, C, D, H, W) at the positions grid (N, points, axes), the innermost axis
// first; missing outer axes of x have extent 1.
//
// Work-item g owns the positions [g * block, (g + 1) * block) of all images, with all channels.
// mode: LINEAR, NEAREST, CUBIC; padding: ZEROS, BORDER, REFLECTION. COMPUTE is at least float.
// No local memory, no barrier.

#define LINEAR 0
#define NEAREST 1
#define CUBIC 2
#define ZEROS 0
#define BORDER 1
#define FURTHEST ((COMPUTE)1048576)
#define A ((COMPUTE)-0.75)

typedef struct { long at[4]; COMPUTE weight[4]; int count; } taps_t;

// A pixel beyond the border, reflected by it until inside.
inline long reflected(const long i, const long size, const int aligned) {
  const long period = aligned ? 2 * size - 2 : 2 * size;
  if (period == 0) return 0;
  const long m = ((i % period) + period) % period;
  return m < size ? m : period - m - (aligned ? 0 : 1);
}

inline COMPUTE near(const COMPUTE d) { return ((A + 2) * d - (A + 3)) * d * d + 1; }
inline COMPUTE far(const COMPUTE d) { return ((A * d - 5 * A) * d + 8 * A) * d - 4 * A; }

// Taps along an axis of `size` pixels; at < 0 reads a zero.
inline taps_t taps_along(COMPUTE g, const long size, const int mode, const int padding,
                         const int aligned) {
  taps_t taps;
  g = isnan(g) ? (COMPUTE)-1 : clamp(g, -FURTHEST, FURTHEST);
  const COMPUTE low = aligned ? (COMPUTE)0 : (COMPUTE)-0.5;
  const COMPUTE span = (COMPUTE)(aligned ? size - 1 : size);
  COMPUTE c = aligned ? (g + 1) * span / 2 : ((g + 1) * span - 1) / 2;
  if (mode == NEAREST) c = rint(c);
  if (c < low || c > low + span) {
    if (padding == BORDER) {
      if (mode != CUBIC) c = clamp(c, (COMPUTE)0, (COMPUTE)(size - 1));
    } else if (padding != ZEROS) {
      const COMPUTE rest = span > 0 ? fmod(fabs(c - low), 2 * span) : (COMPUTE)0;
      c = low + (rest > span ? 2 * span - rest : rest);
    }
  }
  const COMPUTE whole = floor(c), t = c - whole;
  long first = (long)whole;
  if (mode == NEAREST) {
    taps.count = 1;
    taps.weight[0] = 1;
  } else if (mode == LINEAR) {
    taps.count = 2;
    taps.weight[0] = 1 - t;
    taps.weight[1] = t;
  } else {
    taps.count = 4;
    first -= 1;
    taps.weight[0] = far(1 + t);
    taps.weight[1] = near(t);
    taps.weight[2] = near(1 - t);
    taps.weight[3] = far(2 - t);
  }
  for (int k = 0; k < taps.count; ++k) {
    const long i = first + k;
    if (padding == ZEROS) taps.at[k] = i < 0 || i >= size ? -1 : i;
    else if (padding == BORDER) taps.at[k] = clamp(i, 0L, size - 1);
    else taps.at[k] = reflected(i, size, aligned);
  }
  return taps;
}

// The only tap of an axis that x does not have.
inline taps_t alone(void) {
  taps_t taps;
  taps.count = 1;
  taps.at[0] = 0;
  taps.weight[0] = 1;
  return taps;
}

__kernel void grid_sample(__global const STORAGE *x, const long x_start,
                          __global const STORAGE *grid, const long grid_start,
                          __global STORAGE *y, const long y_start, const dims_t sizes,
                          const int axes, const long channels, const long points, const long count,
                          const long block, const int mode, const int padding, const int aligned) {
  const long begin = get_global_id(0) * block, end = min(count, begin + block);
  const long pixels = sizes.a[0] * sizes.a[1] * sizes.a[2];
  for (long q = begin; q < end; ++q) {
    const long n = q / points, g = grid_start + q * axes;
    const taps_t w = taps_along(LOAD(grid, g), sizes.a[2], mode, padding, aligned);
    const taps_t h =
        axes > 1 ? taps_along(LOAD(grid, g + 1), sizes.a[1], mode, padding, aligned) : alone();
    const taps_t d =
        axes > 2 ? taps_along(LOAD(grid, g + 2), sizes.a[0], mode, padding, aligned) : alone();
    for (long c = 0; c < channels; ++c) {
      const long image = x_start + (n * channels + c) * pixels;
      COMPUTE sum = 0;
      for (int i = 0; i < d.count; ++i) {
        COMPUTE plane = 0;
        for (int j = 0; j < h.count; ++j) {
          const long row = image + (d.at[i] * sizes.a[1] + h.at[j]) * sizes.a[2];
          const bool is_inside = d.at[i] >= 0 && h.at[j] >= 0;
          COMPUTE line = 0;
          for (int k = 0; k < w.count; ++k)
            if (is_inside && w.at[k] >= 0) line += w.weight[k] * LOAD(x, row + w.at[k]);
          plane += h.weight[j] * line;
        }
        sum += d.weight[i] * plane;
      }
      STORE(y, y_start + (n * channels + c) * points + q % points, sum);
    }
  }
}
