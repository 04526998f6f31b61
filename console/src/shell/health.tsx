/** Health as people see it: a mark, a word, and the reasons. */
import type { Health } from '../api/contract.gen';
import { type Status, why } from '../health';
import { text } from '../text';
import { STATUS_MARKS } from './marks';

export function StatusMark({ status }: { status: Status }) {
  return (
    <svg className={`sc-status sc-${status.toLowerCase()}`} viewBox="0 0 16 16" width="14" height="14" aria-hidden>
      <path d={STATUS_MARKS[status]} fillRule="evenodd" />
    </svg>
  );
}

export function StatusWords({ status }: { status: Status }) {
  return (
    <span className="sc-status-words">
      <StatusMark status={status} /> {text.status[status]}
    </span>
  );
}

const STATES: Record<string, Status> = { SYNCED: 'Healthy', STALE: 'Degraded', ERROR: 'Failure' };

/** Whether a proxy has its resources, by their types. */
export function SyncState({ types, errors = {} }: { types: Record<string, string>; errors?: Record<string, string> }) {
  return (
    <span className="sc-nowrap">
      {Object.entries(types).map(([type, state]) => (
        <span key={type} className="sc-status-words sc-sync" title={`${type}: ${state.toLowerCase()} ${errors[type] ?? ''}`}>
          <StatusMark status={STATES[state] ?? 'NA'} /> {type}
        </span>
      ))}
    </span>
  );
}

/** The reasons of a health: which rule, what share, which thresholds, in which window. */
export function Why({ health }: { health: Health }) {
  return (
    <ul className="sc-why">
      {why(health).map(({ status, words }, index) => (
        <li key={index}>
          <StatusMark status={status} /> <span>{words}</span>
        </li>
      ))}
    </ul>
  );
}
