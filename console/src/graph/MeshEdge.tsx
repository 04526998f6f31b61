import { EdgeLabelRenderer, type EdgeProps } from '@xyflow/react';
import { memo } from 'react';
import { Mark } from './MeshNode';
import { type MeshEdge, same } from './elements';
import { isIdle, isTcp, labelOf, toneOf } from './labels';
import { curve } from './path';

const FASTEST_S = 1;
const SLOWEST_S = 8;
const MOST_DOTS = 4;

/** How dots move along an edge. Seconds and counts are in steps, so that small changes do not start them anew. */
export function motion(rate: number): { seconds: number; dots: number } {
  const step = Math.max(0, Math.round(Math.log2(1 + rate)));
  return { seconds: Math.max(FASTEST_S, SLOWEST_S / (1 + step * 0.6)), dots: Math.min(MOST_DOTS, 1 + Math.floor(step / 2)) };
}

export const MeshEdgeView = memo(
  ({ sourceX, sourceY, targetX, targetY, data, selected }: EdgeProps<MeshEdge>) => {
    if (!data) return null;
    const { edge, label, animated, route, tone } = data;
    const { d, middle } = curve({ x: sourceX, y: sourceY }, { x: targetX, y: targetY }, route);
    const words = labelOf(edge, label);
    const colour = toneOf(edge);
    return (
      <>
        <g className={`sc-edge sc-edge-${colour} ${tone && `sc-${tone}`} ${selected ? 'sc-selected' : ''}`}>
          <path className="sc-edge-hit" d={d} />
          <path className="sc-edge-line" d={d} markerEnd={`url(#sc-arrow-${colour})`} />
          {animated && !isIdle(edge) && (
            <Dots d={d} rate={isTcp(edge) ? edge.traffic.bytes / 1000 : edge.traffic.rate} errors={edge.traffic.errorShare} />
          )}
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

/** At least one dot is an error where there are errors. */
function Dots({ d, rate, errors }: { d: string; rate: number; errors: number }) {
  const { seconds, dots } = motion(rate);
  const wrong = errors > 0 ? Math.max(1, Math.round(errors * dots)) : 0;
  return Array.from({ length: dots }, (_, index) => (
    <circle key={`${index}/${dots}/${seconds}`} className={index < wrong ? 'sc-dot sc-dot-error' : 'sc-dot'} r={3.2}>
      <animateMotion dur={`${seconds}s`} begin={`${(-seconds * index) / dots}s`} repeatCount="indefinite" path={d} />
    </circle>
  ));
}

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
