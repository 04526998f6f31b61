import '@xyflow/react/dist/base.css';
import {
  type EdgeChange,
  type NodeChange,
  Panel,
  ReactFlow,
  type ReactFlowInstance,
  ReactFlowProvider,
  applyNodeChanges,
  useReactFlow,
} from '@xyflow/react';
import { type KeyboardEvent, Suspense, lazy, useEffect, useMemo, useRef, useState } from 'react';
import { text } from '../text';
import { Arrows, MeshEdgeView } from './MeshEdge';
import { BoxView, MeshNodeView, ToggleNamespace } from './MeshNode';
import type { ShownGraph } from './collapse';
import { type AnyNode, type Look, type MeshEdge, edgesOf, nodesOf } from './elements';
import type { Layout } from './layout';

const ARIA = {
  'node.a11yDescription.default': text.graph.a11yNode,
  'node.a11yDescription.keyboardDisabled': text.graph.a11yNode,
  'node.a11yDescription.ariaLiveMessage': ({ direction }: { direction: string }) => text.graph.moved(direction),
  'edge.a11yDescription.default': text.graph.a11yEdge,
};
const NODE_TYPES = { mesh: MeshNodeView, box: BoxView };
const EDGE_TYPES = { mesh: MeshEdgeView };
const Dots = lazy(() => import('./Dots'));
const EDGE = 90; // how near the border of the canvas a selected node may be
const FIT = { padding: 0.08, maxZoom: 1.25 };
type Zoom = (flow: ReactFlowInstance<AnyNode, MeshEdge>, moved: { current: boolean }) => void;
const ZOOMS: [string, string, Zoom][] = [
  [text.graph.zoomIn, '+', (flow) => void flow.zoomIn()],
  [text.graph.zoomOut, '−', (flow) => void flow.zoomOut()],
  [text.graph.fit, '⤢', (flow, moved) => ((moved.current = false), void flow.fitView(FIT))],
];

interface Props {
  graph: ShownGraph;
  layout: Layout;
  look: Look;
  onSelect: (id: string) => void;
  onToggle: (namespace: string) => void;
}

export function Canvas(props: Props) {
  return (
    <ReactFlowProvider>
      <ToggleNamespace.Provider value={props.onToggle}>
        <Flow {...props} />
      </ToggleNamespace.Provider>
    </ReactFlowProvider>
  );
}

function Flow({ graph, layout, look, onSelect }: Props) {
  const flow = useReactFlow<AnyNode, MeshEdge>();
  const [nodes, setNodes] = useState<AnyNode[]>([]);
  const shownLayout = useRef('');
  const moved = useRef(false); // whether the user has moved the view
  const edges = useMemo(() => edgesOf(graph, layout, look), [graph, layout, look]);
  useEffect(() => {
    const keep = shownLayout.current === layout.key;
    shownLayout.current = layout.key;
    setNodes((before) => merged(before, nodesOf(graph, layout, look), keep));
  }, [graph, layout, look]);
  useEffect(() => {
    if (moved.current) return;
    const frame = requestAnimationFrame(() => void flow.fitView(FIT));
    return () => cancelAnimationFrame(frame);
  }, [flow, layout.key, nodes.length]);
  const canvas = useRef<HTMLDivElement>(null);
  useEffect(() => {
    const node = canvas.current;
    if (!node || !look.selected) return;
    const watcher = new ResizeObserver(() => reveal(flow, look.selected, node)); // the panel takes a part of the canvas
    watcher.observe(node);
    return () => watcher.disconnect();
  }, [flow, look.selected]);
  const select = (changes: (NodeChange<AnyNode> | EdgeChange<MeshEdge>)[]): void => {
    for (const change of changes) if (change.type === 'select' && change.selected) onSelect(change.id);
  };
  const escape = (event: KeyboardEvent): void => {
    if (event.key === 'Escape') onSelect('');
  };
  return (
    <div ref={canvas} className="sc-canvas" role="region" aria-label={text.graph.canvas} onKeyDown={escape}>
      <Arrows />
      <ReactFlow<AnyNode, MeshEdge>
        nodes={nodes}
        edges={edges}
        nodeTypes={NODE_TYPES}
        edgeTypes={EDGE_TYPES}
        onNodesChange={(changes) => {
          select(changes);
          setNodes((now) =>
            applyNodeChanges(
              changes.filter((change) => change.type === 'position' || change.type === 'dimensions'),
              now,
            ),
          );
        }}
        onEdgesChange={select}
        onPaneClick={() => onSelect('')}
        onMoveStart={(event) => {
          if (event) moved.current = true;
        }}
        ariaLabelConfig={ARIA}
        nodesConnectable={false}
        deleteKeyCode={null}
        selectionKeyCode={null}
        multiSelectionKeyCode={null}
        minZoom={0.02}
        onlyRenderVisibleElements={layout.arranged}
        proOptions={{ hideAttribution: true }}
      >
        <Suspense fallback={null}>{look.animated && <Dots edges={edges} />}</Suspense>
        <Panel position="bottom-left" className="sc-zoom">
          {ZOOMS.map(([words, sign, act]) => (
            <button key={words} type="button" aria-label={words} title={words} onClick={() => act(flow, moved)}>
              {sign}
            </button>
          ))}
        </Panel>
      </ReactFlow>
    </div>
  );
}

/** Pans as little as shows a node that is outside of the canvas. */
function reveal(flow: ReactFlowInstance<AnyNode, MeshEdge>, id: string, canvas: HTMLElement): void {
  const node = flow.getInternalNode(id);
  if (!node) return;
  const { x, y, zoom } = flow.getViewport();
  const { x: left, y: top } = node.internals.positionAbsolute;
  const shift = (at: number, room: number): number => Math.min(Math.max(at, EDGE), room - EDGE) - at;
  const dx = shift(left * zoom + x, canvas.clientWidth);
  const dy = shift(top * zoom + y, canvas.clientHeight);
  if (dx || dy) void flow.setViewport({ x: x + dx, y: y + dy, zoom });
}

/** What React Flow has measured stays; while the layout is the same, so does what the user has moved. */
function merged(before: AnyNode[], fresh: AnyNode[], keep: boolean): AnyNode[] {
  const known = new Map(before.map((node) => [node.id, node]));
  return fresh.map((node) => {
    const old = known.get(node.id);
    if (!old) return node;
    return { ...node, measured: old.measured, position: keep ? old.position : node.position } as AnyNode;
  });
}
