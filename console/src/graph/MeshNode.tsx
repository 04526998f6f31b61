import { Handle, type NodeProps, Position } from '@xyflow/react';
import { type MouseEvent, createContext, memo, useContext } from 'react';
import { text } from '../text';
import { type BoxNode, type MeshNode, same } from './elements';
import { kindOf } from './labels';
import { MARKS, SHAPES, SIGNS } from './shapes';

/** Opens or collapses a namespace. */
export const ToggleNamespace = createContext<(namespace: string) => void>(() => undefined);

/** A click that opens or collapses a namespace, and does not select its node. */
function useToggle(): (event: MouseEvent, namespace: string) => void {
  const toggle = useContext(ToggleNamespace);
  return (event, namespace) => {
    event.stopPropagation();
    toggle(namespace);
  };
}

export function Mark({ name, title }: { name: string; title?: string }) {
  return (
    <svg
      className={`sc-mark sc-mark-${name}`}
      viewBox="0 0 16 16"
      width="14"
      height="14"
      role={title ? 'img' : undefined}
      aria-hidden={!title}
      aria-label={title}
    >
      {title && <title>{title}</title>}
      <path d={MARKS[name]} fillRule="evenodd" />
    </svg>
  );
}

/** A shape by kind, in the colour of its health. */
export function Shape({ kind, status, idle = false }: { kind: string; status: string; idle?: boolean }) {
  return (
    <svg className={`sc-shape sc-${idle ? 'idle' : status.toLowerCase()}`} viewBox="0 0 44 44" width="44" height="44" aria-hidden>
      <path d={SHAPES[kind]} />
      {kind === 'namespace' && <path d="M8 14h22v22" fill="none" />}
      <text x="22" y={kind === 'service' ? 34 : 28} textAnchor="middle">
        {SIGNS[kind]}
      </text>
    </svg>
  );
}

export const MeshNodeView = memo(({ data: { node, tone }, selected }: NodeProps<MeshNode>) => {
  const toggled = useToggle();
  const marked = ['Failure', 'Degraded', 'NotReady'].includes(node.health.status);
  return (
    <div className={`sc-node ${tone && `sc-${tone}`} ${selected ? 'sc-selected' : ''} ${node.outside ? 'sc-outside' : ''}`}>
      <Handle type="target" position={Position.Left} isConnectable={false} />
      <Handle type="source" position={Position.Right} isConnectable={false} />
      <Shape kind={kindOf(node)} status={node.health.status} idle={node.idle} />
      {marked && (
        <span className="sc-health-mark">
          <Mark name={node.health.status} />
        </span>
      )}
      {node.badges.length > 0 && (
        <span className="sc-badges">
          {node.badges.map((badge) => (
            <span key={badge} className="sc-badge" title={text.graph.badges[badge] ?? badge}>
              <Mark name={badge} />
            </span>
          ))}
        </span>
      )}
      <span className="sc-node-label">
        <span className="sc-node-name">{node.name}</span>
        {node.version && <span className="sc-node-version">{node.version}</span>}
        {node.members && (
          <button
            type="button"
            className="sc-open nodrag nopan"
            title={text.graph.openNamespace(node.namespace)}
            onClick={(event) => toggled(event, node.namespace)}
          >
            <span className="sc-hidden">{text.graph.openNamespace(node.namespace)}, </span>
            {text.graph.members(node.members.length)} +
          </button>
        )}
      </span>
    </div>
  );
}, same);
MeshNodeView.displayName = 'MeshNodeView';

export const BoxView = memo(({ data: { group } }: NodeProps<BoxNode>) => {
  const toggled = useToggle();
  return (
    <div className="sc-box">
      <span className="sc-box-title">
        {group.split('/').at(-1)}
        {!group.includes('/') && (
          <button
            type="button"
            className="sc-open nodrag nopan"
            aria-label={text.graph.closeNamespace(group)}
            onClick={(event) => toggled(event, group)}
          >
            −
          </button>
        )}
      </span>
    </div>
  );
}, same);
BoxView.displayName = 'BoxView';
