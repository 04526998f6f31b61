import { EdgeLabelRenderer, type EdgeProps } from '@xyflow/react';
import { memo } from 'react';
import { Mark } from './MeshNode';
import { type MeshEdge, same } from './elements';
import { labelOf, toneOf } from './labels';
import { curve } from './path';

export const MeshEdgeView = memo(
  ({ sourceX, sourceY, targetX, targetY, data, selected }: EdgeProps<MeshEdge>) => {
    if (!data) return null;
    const { edge, label, route, tone } = data;
    const { d, middle } = curve({ x: sourceX, y: sourceY }, { x: targetX, y: targetY }, route);
    const words = labelOf(edge, label);
    const colour = toneOf(edge);
    return (
      <>
        <g className={`sc-edge sc-edge-${colour} ${tone && `sc-${tone}`} ${selected ? 'sc-selected' : ''}`}>
          <path className="sc-edge-hit" d={d} />
          <path className="sc-edge-line" d={d} markerEnd={`url(#sc-arrow-${colour})`} />
        </g>
        {words && (
          <EdgeLabelRenderer>
            <div
              className={`sc-edge-label sc-edge-${colour} ${tone && `sc-${tone}`}`}
              style={{ transform: `translate(-50%, -50%) translate(${middle.x}px, ${middle.y}px)` }}
              aria-hidden
            >
              {label === 'mtls' && <Mark name="lock" />}
              {words}
            </div>
          </EdgeLabelRenderer>
        )}
      </>
    );
  },
  (before, after) => same(before, after, ['sourceX', 'sourceY', 'targetX', 'targetY']),
);
MeshEdgeView.displayName = 'MeshEdgeView';

/** The arrow heads, one for each colour. */
export function Arrows() {
  return (
    <svg className="sc-arrows" aria-hidden>
      <defs>
        {['healthy', 'degraded', 'failure', 'notready', 'na', 'tcp', 'idle'].map((colour) => (
          <marker
            key={colour}
            id={`sc-arrow-${colour}`}
            viewBox="0 0 10 10"
            refX="8"
            refY="5"
            markerWidth="5"
            markerHeight="5"
            orient="auto-start-reverse"
          >
            <path d="M0 0L10 5L0 10z" className={`sc-arrow sc-edge-${colour}`} />
          </marker>
        ))}
      </defs>
    </svg>
  );
}
