/** Places the nodes of a graph that is too large for ELK, in milliseconds and without it: columns by how far a node is from where requests come
 * in, rows next to neighbours; a grid in each box, boxes in rows. Nodes that had a place keep it. Pure. */
import type { ShownGraph } from './collapse';
import { type Groups, type Layout, type Placed, type Point, SIZE, boxOf, keyOf } from './layout';

const CELL = { width: 150, height: 124 };
const PAD = { top: 56, side: 52, bottom: 40 };
const GAP = 90;
const SWEEPS = 4;

/** The layout of a graph. `before`: the one that is shown, if it was made here. */
export function arrange(graph: ShownGraph, groups: Groups, before: Layout | null): Layout {
  const members = new Map<string, string[]>();
  for (const node of [...graph.nodes].sort((a, b) => a.id.localeCompare(b.id))) {
    const group = groups.get(node.id) ?? '';
    members.set(group, [...(members.get(group) ?? []), node.id]);
  }
  const near = new Map<string, string[]>(graph.nodes.map((node) => [node.id, []]));
  for (const { source, target } of graph.edges) {
    near.get(source)?.push(target);
    near.get(target)?.push(source);
  }
  const depth = depths(graph);
  const places = new Map<string, Placed>();
  const boxes = [...members].map(([group, ids]) => {
    const kept = before?.arranged ? ids.filter((id) => group && before.groups.get(id) === group) : [];
    const cells = inCells(ids, depth, near, new Map(kept.flatMap((id) => [[id, before?.places.get(id)] as const])));
    for (const [id, { x, y }] of cells) places.set(id, { x, y, width: SIZE, height: SIZE });
    const across = Math.max(...[...cells.values()].map((cell) => cell.x)) + SIZE + PAD.side;
    const down = Math.max(...[...cells.values()].map((cell) => cell.y)) + SIZE + PAD.bottom;
    return { group, ids, width: across, height: down, rank: ids.reduce((sum, id) => sum + (depth.get(id) ?? 0), 0) / ids.length };
  });
  const order = [...boxes].sort((a, b) => a.rank - b.rank || a.group.localeCompare(b.group));
  const limit = Math.max(Math.sqrt(boxes.reduce((sum, box) => sum + box.width * box.height, 0) * 1.6), ...boxes.map((box) => box.width));
  let [x, y, tallest] = [0, 0, 0];
  for (const box of order) {
    if (x > 0 && x + box.width > limit) [x, y, tallest] = [0, y + tallest + GAP, 0];
    if (box.group) places.set(boxOf(box.group), { x, y, width: box.width, height: box.height });
    else
      for (const id of box.ids) {
        const place = places.get(id);
        if (place) places.set(id, { ...place, x: place.x + x, y: place.y + y });
      }
    [x, tallest] = [x + box.width + GAP, Math.max(tallest, box.height)];
  }
  return { key: keyOf(graph, groups), groups, places, routes: new Map(), arranged: true };
}

/** How many edges each node is from one that nobody calls. */
function depths(graph: ShownGraph): Map<string, number> {
  const called = new Set(graph.edges.map((edge) => edge.target));
  const next = new Map<string, string[]>();
  for (const { source, target } of graph.edges) next.set(source, [...(next.get(source) ?? []), target]);
  const out = new Map<string, number>();
  const visit = (from: string[]): void => {
    for (let level = from, depth = 0; level.length; depth += 1) {
      const fresh = level.filter((id) => !out.has(id));
      for (const id of fresh) out.set(id, depth);
      level = fresh.flatMap((id) => next.get(id) ?? []).filter((id) => !out.has(id));
    }
  };
  const ids = graph.nodes.map((node) => node.id).sort();
  visit(ids.filter((id) => !called.has(id)));
  for (const id of ids) if (!out.has(id)) visit([id]); // in circles that nobody outside calls
  return out;
}

/** The places in a box: known nodes where they are, others in free cells. */
function inCells(ids: string[], depth: Map<string, number>, near: Map<string, string[]>, known: Map<string, Point | undefined>): Map<string, Point> {
  const rows = Math.max(1, Math.ceil(Math.sqrt(ids.length * 1.2)));
  const columns: string[][] = [];
  const fresh = ids.filter((id) => !known.has(id)).sort((a, b) => (depth.get(a) ?? 0) - (depth.get(b) ?? 0) || a.localeCompare(b));
  fresh.forEach((id, index) => (columns[Math.floor(index / rows)] ??= []).push(id));
  const row = new Map(columns.flatMap((column) => column.map((id, index) => [id, index] as const)));
  for (let sweep = 0; sweep < SWEEPS; sweep += 1)
    for (const column of columns) {
      const wanted = new Map(column.map((id) => [id, mean((near.get(id) ?? []).flatMap((other) => row.get(other) ?? [])) ?? row.get(id) ?? 0]));
      column.sort((a, b) => (wanted.get(a) ?? 0) - (wanted.get(b) ?? 0));
      column.forEach((id, index) => row.set(id, index));
    }
  const out = new Map<string, Point>();
  const taken = new Set<string>();
  const put = (id: string, x: number, y: number): void => {
    taken.add(`${x} ${y}`);
    out.set(id, { x, y });
  };
  for (const id of ids) {
    const place = known.get(id);
    if (place) put(id, place.x, place.y);
  }
  let cell = 0;
  for (const id of columns.flat()) {
    const at = (): [number, number] => [PAD.side + Math.floor(cell / rows) * CELL.width, PAD.top + (cell % rows) * CELL.height];
    while (taken.has(at().join(' '))) cell += 1;
    put(id, ...at());
  }
  return out;
}

const mean = (values: number[]): number | undefined =>
  values.length ? values.reduce((sum, value) => sum + value, 0) / values.length : undefined;
