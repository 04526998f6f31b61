/** Turns a placed graph into the nodes and edges of React Flow. Pure. */
import type { Edge as FlowEdge, Node as FlowNode } from '@xyflow/react';
import type { Edge } from '../api/contract.gen';
import type { LabelKind } from '../options';
import type { ShownGraph, ShownNode } from './collapse';
import type { Matches } from './find';
import { describeEdge, describeNode } from './labels';
import { type Layout, type Point, SIZE, boxOf } from './layout';

export type MeshNode = FlowNode<{ node: ShownNode; tone: Tone }, 'mesh'>;
export type BoxNode = FlowNode<{ group: string }, 'box'>;
export type AnyNode = MeshNode | BoxNode;
export type MeshEdge = FlowEdge<{ edge: Edge; label: LabelKind; route: Point[] | undefined; tone: Tone }, 'mesh'>;
/** Whether the find box matches an element, another one, or is empty. */
export type Tone = 'found' | 'dimmed' | '';

export interface Look {
  labels: LabelKind;
  animated: boolean;
  selected: string;
  /** null: nothing is looked for. */
  matches: Matches | null;
}

/** Boxes come before what is in them, as React Flow asks. Nodes that have no place yet are left out. */
export function nodesOf(graph: ShownGraph, layout: Layout, look: Look): AnyNode[] {
  const boxes = new Map<string, BoxNode>();
  const nodes: MeshNode[] = [];
  for (const node of graph.nodes) {
    const place = layout.places.get(node.id);
    if (!place) continue;
    const group = layout.groups.get(node.id) ?? '';
    const box = boxOf(group);
    const at = group ? layout.places.get(box) : undefined;
    if (at) {
      if (!boxes.has(box))
        boxes.set(box, {
          id: box,
          type: 'box',
          position: { x: at.x, y: at.y },
          width: at.width,
          height: at.height,
          data: { group },
          selectable: false,
          focusable: false,
          draggable: false,
          zIndex: -1,
        });
    }
    nodes.push({
      id: node.id,
      type: 'mesh',
      position: { x: place.x, y: place.y },
      width: SIZE,
      height: SIZE,
      ...(at ? { parentId: box, extent: 'parent' as const } : {}),
      data: { node, tone: toneOf(look.matches?.nodes, node.id) },
      selected: look.selected === node.id,
      ariaLabel: describeNode(node),
    });
  }
  return [...boxes.values(), ...nodes];
}

export function edgesOf(graph: ShownGraph, layout: Layout, look: Look): MeshEdge[] {
  const nodes = new Map(graph.nodes.map((node) => [node.id, node]));
  const edges: MeshEdge[] = [];
  for (const edge of graph.edges) {
    const [source, target] = [nodes.get(edge.source), nodes.get(edge.target)];
    if (!source || !target || !layout.places.has(edge.source) || !layout.places.has(edge.target)) continue;
    edges.push({
      id: edge.id,
      type: 'mesh',
      source: edge.source,
      target: edge.target,
      data: {
        edge,
        label: look.labels,
        route: layout.routes.get(edge.id),
        tone: toneOf(look.matches?.edges, edge.id),
      },
      selected: look.selected === edge.id,
      ariaLabel: describeEdge(edge, source, target),
    });
  }
  return edges;
}

const toneOf = (found: Set<string> | undefined, id: string): Tone => (found === undefined ? '' : found.has(id) ? 'found' : 'dimmed');

/** Whether two properties of a view, and what is in their data, are the same: what a delta did not change is not drawn again. */
export function same<P extends { data?: object; selected?: boolean }>(before: P, after: P, places: (keyof P)[] = []): boolean {
  if (before.selected !== after.selected || places.some((name) => before[name] !== after[name])) return false;
  const [a, b] = [before.data as Record<string, unknown>, after.data as Record<string, unknown>];
  return a === b || Object.keys(b).every((name) => a[name] === b[name]);
}
