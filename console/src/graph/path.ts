/** The curve of an edge. Pure. */
import type { Point } from './layout';

const RADIUS = 22;

export interface Curve {
  d: string;
  /** Where a label goes. */
  middle: Point;
}

const at = (p: Point): string => `${p.x.toFixed(1)} ${p.y.toFixed(1)}`;

/** The curve from one centre to the other: along the route of the layout, or on its own if the nodes have been moved since. */
export function curve(source: Point, target: Point, route: Point[] | undefined): Curve {
  if (route && near(route[0], source) && near(route.at(-1), target)) return along(route);
  const [dx, dy] = [target.x - source.x, target.y - source.y];
  const length = Math.hypot(dx, dy);
  if (length < 1) return loop(source);
  const [ux, uy] = [dx / length, dy / length];
  const from = { x: source.x + ux * RADIUS, y: source.y + uy * RADIUS };
  const to = { x: target.x - ux * (RADIUS + 2), y: target.y - uy * (RADIUS + 2) };
  const bow = Math.min(40, length / 8);
  const middle = { x: (from.x + to.x) / 2 - uy * bow, y: (from.y + to.y) / 2 + ux * bow };
  return {
    d: `M${at(from)} Q${at(middle)} ${at(to)}`,
    middle: { x: (from.x + to.x) / 4 + middle.x / 2, y: (from.y + to.y) / 4 + middle.y / 2 },
  };
}

const near = (point: Point | undefined, centre: Point): boolean =>
  point !== undefined && Math.hypot(point.x - centre.x, point.y - centre.y) < RADIUS * 1.6;

function loop(centre: Point): Curve {
  const [x, y] = [centre.x, centre.y - RADIUS];
  return {
    d: `M${at({ x: x - 8, y })} C${at({ x: x - 40, y: y - 44 })} ${at({ x: x + 40, y: y - 44 })} ${at({ x: x + 8, y })}`,
    middle: { x, y: y - 32 },
  };
}

/** A route of the layout is a start and three points for each cubic curve; across the border of a box it may have other counts, and
 * its points are those that a smooth line is drawn to. */
function along(route: Point[]): Curve {
  const [start, ...rest] = route as [Point, ...Point[]];
  if (rest.length % 3 !== 0) return smooth(route);
  let d = `M${at(start)}`;
  for (let index = 0; index < rest.length; index += 3)
    d += ` C${rest
      .slice(index, index + 3)
      .map(at)
      .join(' ')}`;
  return { d, middle: middleOf(route) };
}

const between = (a: Point, b: Point): Point => ({ x: (a.x + b.x) / 2, y: (a.y + b.y) / 2 });

/** Quadratic curves between the middles of a line's pieces. */
function smooth(route: Point[]): Curve {
  const [start, end] = [route[0] as Point, route.at(-1) as Point];
  const inner = route.slice(1, -1);
  const half = Math.floor((route.length - 1) / 2);
  const middle = between(route[half] as Point, route[half + 1] as Point);
  if (!inner.length) return { d: `M${at(start)} L${at(end)}`, middle };
  const pieces = inner.map(
    (point, index) => `Q${at(point)} ${at(index + 1 < inner.length ? between(point, inner[index + 1] as Point) : end)}`,
  );
  return { d: `M${at(start)} ${pieces.join(' ')}`, middle };
}

function middleOf(route: Point[]): Point {
  const curves = Math.floor((route.length - 1) / 3);
  const first = Math.floor((curves - 1) / 2) * 3;
  const [a, b, c, d] = route.slice(first, first + 4) as [Point, Point, Point, Point];
  if (curves % 2 === 0) return d;
  return { x: (a.x + 3 * b.x + 3 * c.x + d.x) / 8, y: (a.y + 3 * b.y + 3 * c.y + d.y) / 8 };
}
