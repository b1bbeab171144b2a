/* The shaders of draw.js (WebGL2). All compute with positions in picture pixels relative to the view's corner, which is
   given in two parts: positions in large pictures would lose their fractions. */
(function (sb) {
  "use strict";

  const HEAD = `#version 300 es
precision highp float;
precision highp int;
precision highp sampler2D;
precision highp usampler2D;
`;

  /** A Gaussian of the data texture, 512 in a row, and its exponent at a displacement. */
  const GAUSSIAN = `
uniform sampler2D numbers;
uniform vec2 corner, cornerRest;  // of the target in picture pixels, and what float32 leaves of it
uniform float scale;              // target pixels per picture pixel
uniform float limit;

struct Gaussian { vec2 mean; vec2 axis; vec2 inverse; vec2 signs; vec3 color; float opacity; };

Gaussian gaussian(int i) {
  ivec2 at = ivec2(i % 512 * 3, i / 512);
  vec4 a = texelFetch(numbers, at, 0);
  vec4 b = texelFetch(numbers, at + ivec2(1, 0), 0);
  vec4 c = texelFetch(numbers, at + ivec2(2, 0), 0);
  return Gaussian((a.xy - corner) - cornerRest, a.zw, b.xy, b.zw, c.xyz, c.w);
}

float exponent(Gaussian g, vec2 position) {
  vec2 d = position - g.mean;
  vec2 p = g.inverse * vec2(dot(d, g.axis), dot(d, vec2(-g.axis.y, g.axis.x)));
  return 0.5 * dot(p * p, g.signs);
}
`;

  /** Blends that add: one rectangle per Gaussian along its axes, just larger than its support. */
  const SUM_VERTEX = `${HEAD}${GAUSSIAN}
uniform vec2 target;  // size in pixels
uniform bool indefinite;
layout(location = 0) in int index;
layout(location = 1) in ivec4 pixels;
flat out Gaussian g;
flat out vec4 inside;  // x0, y0, x1, y1 relative to the corner

void main() {
  g = gaussian(index);
  inside = (vec4(pixels) - corner.xyxy) - cornerRest.xyxy;
  vec2 unit = vec2(gl_VertexID & 1, gl_VertexID >> 1) * 2.0 - 1.0;
  vec2 at = mix(inside.xy, inside.zw, unit * 0.5 + 0.5);
  vec2 reach = sqrt(2.0 * limit) * 1.001 / g.inverse + 1.0 / scale;
  vec2 view = target / scale;
  if (!indefinite) {
    // corners far outside would lose their digits: of a Gaussian much larger than the view all of the view is drawn
    bool covers = max(reach.x, reach.y) > 4.0 * max(view.x, view.y);
    vec2 along = unit * reach;
    at = covers ? (unit * 0.5 + 0.5) * view : g.mean + along.x * g.axis + along.y * vec2(-g.axis.y, g.axis.x);
  }
  gl_Position = vec4(at * scale / target * 2.0 - 1.0, 0.0, 1.0);
}`;

  const SUM_FRAGMENT = `${HEAD}${GAUSSIAN}
uniform bool indefinite;
flat in Gaussian g;
flat in vec4 inside;
out vec4 color;

void main() {
  vec2 position = gl_FragCoord.xy / scale;
  float s = exponent(g, position);
  if (s > limit || s < 0.0 || any(lessThan(position, inside.xy)) || any(greaterThanEqual(position, inside.zw))) discard;
  float w = exp(-s);
  color = vec4((indefinite ? min(w, 0.999) : w) * g.color, 0.0);
}`;

  const FULL_VERTEX = `${HEAD}
void main() { gl_Position = vec4(vec2(gl_VertexID & 1, gl_VertexID >> 1) * 4.0 - 1.0, 0.0, 1.0); }`;

  /** The list of the native tile of a position. */
  const LISTS = `
uniform usampler2D starts, ids;
uniform ivec2 tiles;
uniform ivec2 cornerTile;  // the tile of the corner,
uniform vec2 inTile;       // and where in it the corner is
out vec4 color;

uint entry(usampler2D t, int i) { return texelFetch(t, ivec2(i & 2047, i >> 11), 0).x; }

ivec2 listOf(vec2 position) {
  ivec2 tile = cornerTile + ivec2(floor((position + inTile) / 16.0));
  if (any(lessThan(tile, ivec2(0))) || any(greaterThanEqual(tile, tiles))) return ivec2(0);
  int i = tile.y * tiles.x + tile.x;
  return ivec2(entry(starts, i), entry(starts, i + 1));
}
`;

  /** The K smallest exponents stay sorted; of equal ones the lower index stays in front. */
  const topkFragment = (k) => `${HEAD}${GAUSSIAN}${LISTS}
uniform float epsilon;

void main() {
  vec2 position = gl_FragCoord.xy / scale;
  float best[${k}];
  int chosen[${k}];
  for (int j = 0; j < ${k}; j++) { best[j] = 3.4e38; chosen[j] = -1; }
  ivec2 list = listOf(position);
  for (int n = list.x; n < list.y; n++) {
    int i = int(entry(ids, n));
    float s = exponent(gaussian(i), position);
    if (s > limit || s >= best[${k - 1}]) continue;
    for (int j = 0; j < ${k}; j++) {
      if (s < best[j]) {
        float t = best[j]; best[j] = s; s = t;
        int c = chosen[j]; chosen[j] = i; i = c;
      }
    }
  }
  vec3 total = vec3(0.0);
  float weight = epsilon;
  for (int j = 0; j < ${k}; j++) {
    if (chosen[j] < 0) break;
    float a = exp(-best[j]);
    total += a * gaussian(chosen[j]).color;
    weight += a;
  }
  color = vec4(total / weight, 0.0);
}`;

  const ALPHA_FRAGMENT = `${HEAD}${GAUSSIAN}${LISTS}
uniform float background;

void main() {
  vec2 position = gl_FragCoord.xy / scale;
  vec3 total = vec3(0.0);
  float through = 1.0;
  ivec2 list = listOf(position);
  for (int n = list.x; n < list.y; n++) {
    Gaussian g = gaussian(int(entry(ids, n)));
    float s = exponent(g, position);
    float alpha = s > limit ? 0.0 : g.opacity * exp(-s);
    if (alpha < 1.0 / 255.0) continue;
    alpha = min(alpha, 0.999);
    if (through * (1.0 - alpha) <= 1e-4) break;
    total += through * alpha * g.color;
    through *= 1.0 - alpha;
  }
  color = vec4(total + through * background, 0.0);
}`;

  /** What a layer has drawn: added to the enlarged picture before it, then kept as a picture, or shown. */
  const RESOLVE_FRAGMENT = `${HEAD}
uniform sampler2D drawn, base;
uniform bool hasBase, show;
uniform vec2 stretch;        // value = stretch.x * clamped + stretch.y, of layers that add to a base
uniform vec2 corner, size;   // of the drawn target and of the picture, in picture pixels
uniform vec2 baseRatio;      // base pixels per picture pixel
uniform float scale, gamma;
uniform int samples;         // target pixels per shown pixel, along each side
uniform int shownRows;
out vec4 color;

vec3 enlarged(vec2 position) {
  vec2 at = max(position * baseRatio - 0.5, 0.0);
  ivec2 last = textureSize(base, 0) - 1, low = min(ivec2(at), last), high = min(low + 1, last);
  vec2 f = at - vec2(low);
  vec3 top = mix(texelFetch(base, low, 0).rgb, texelFetch(base, ivec2(high.x, low.y), 0).rgb, f.x);
  vec3 bottom = mix(texelFetch(base, ivec2(low.x, high.y), 0).rgb, texelFetch(base, high, 0).rgb, f.x);
  return mix(top, bottom, f.y);
}

void main() {
  ivec2 at = ivec2(gl_FragCoord.xy);
  if (show) at.y = shownRows - 1 - at.y;
  vec4 sum = vec4(0.0);
  for (int y = 0; y < samples; y++) {
    for (int x = 0; x < samples; x++) {
      ivec2 texel = at * samples + ivec2(x, y);
      vec2 position = corner + (vec2(texel) + 0.5) / scale;
      if (any(lessThan(position, vec2(0.0))) || any(greaterThanEqual(position, size))) continue;
      vec3 value = texelFetch(drawn, texel, 0).rgb;
      if (hasBase) value = enlarged(position) + clamp(value, 0.0, 1.0) * stretch.x + stretch.y;
      if (show || !hasBase) value = clamp(value, 0.0, 1.0);
      if (show && gamma != 1.0) value = pow(value, vec3(1.0 / gamma));
      sum += vec4(value, 1.0);
    }
  }
  color = sum / float(samples * samples);
}`;

  sb.drawing = Object.assign(sb.drawing || {}, {
    shaders: { SUM_VERTEX, SUM_FRAGMENT, FULL_VERTEX, ALPHA_FRAGMENT, RESOLVE_FRAGMENT, topkFragment },
  });
})((window.splatbench = window.splatbench || {}));
