import { STATUSES } from '../health';
import { StatusWords } from '../shell/health';
import { text } from '../text';
import { Mark, Shape } from './MeshNode';
import { SHAPES } from './shapes';

export default function Legend() {
  return (
    <aside className="sc-legend" tabIndex={0} aria-label={text.legend.title}>
      <h2>{text.legend.shapes}</h2>
      <ul className="sc-plain">
        {Object.keys(SHAPES).map((kind) => (
          <li key={kind}>
            <Shape kind={kind} status="NA" /> {text.graph.kinds[kind]}
          </li>
        ))}
      </ul>
      <h2>{text.legend.colours}</h2>
      <ul className="sc-plain">
        {STATUSES.map((status) => (
          <li key={status}>
            <StatusWords status={status} />
          </li>
        ))}
      </ul>
      <h2>{text.legend.edges}</h2>
      <ul className="sc-plain">
        {[
          ...STATUSES.filter((status) => status !== 'NotReady' && status !== 'NA').map((status) => [
            status.toLowerCase(),
            text.status[status],
          ]),
          ['tcp', text.graph.tcp],
          ['idle', text.graph.idleEdge],
        ].map(([tone, words]) => (
          <li key={tone}>
            <svg className={`sc-edge sc-edge-${tone}`} width="36" height="8" aria-hidden>
              <path className="sc-edge-line" d="M0 4H36" />
            </svg>{' '}
            {words}
          </li>
        ))}
      </ul>
      <h2>{text.legend.badges}</h2>
      <ul className="sc-plain">
        {Object.entries(text.graph.badges).map(([badge, words]) => (
          <li key={badge}>
            <Mark name={badge} /> {words}
          </li>
        ))}
      </ul>
    </aside>
  );
}
