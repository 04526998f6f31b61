/** Points along the curves of edges, for what moves along them. Pure. */
import type { Point } from './layout';

const STEPS = 12; // for each curve

/** Points along a path of `curve`. */
export function pointsOf(d: string): Point[] {
  const out: Point[] = [];
  for (const [, letter, numbers] of d.matchAll(/([MLQC])([^MLQC]*)/g)) {
    const values = (numbers ?? '').trim().split(/\s+/).map(Number);
    const ends = values.flatMap((x, index) => (index % 2 ? [] : [{ x, y: values[index + 1] ?? 0 }]));
    const all = [out.at(-1) ?? (ends[0] as Point), ...ends];
    if (letter === 'M') out.push(all[1] as Point);
    else for (let step = 1; step <= STEPS; step += 1) out.push(onCurve(all, step / STEPS));
  }
  return out;
}

/** The point of a Bézier curve of any degree. */
function onCurve(points: Point[], t: number): Point {
  if (points.length === 1) return points[0] as Point;
  const mix = (a: Point, b: Point): Point => ({ x: a.x + (b.x - a.x) * t, y: a.y + (b.y - a.y) * t });
  return onCurve(points.slice(1).map((point, index) => mix(points[index] as Point, point)), t);
}
