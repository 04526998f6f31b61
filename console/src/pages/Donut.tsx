import type { Counted } from '../api/contract.gen';
import { StatusWords } from '../shell/health';
import { text } from '../text';

const RADIUS = 48;
const LENGTH = 2 * Math.PI * RADIUS;
const GAP = 2;

/** A ring of counts by health, with the same in words beside it. */
export function Donut({ counts }: { counts: Counted[] }) {
  const total = counts.reduce((sum, one) => sum + one.count, 0);
  const gap = counts.length > 1 ? GAP : 0;
  let start = 0;
  const arcs = counts.map(({ status, count }) => {
    const length = (count / total) * LENGTH;
    const arc = (
      <circle
        key={status}
        className={`sc-${status.toLowerCase()}`}
        cx="60"
        cy="60"
        r={RADIUS}
        strokeDasharray={`${Math.max(1, length - gap)} ${LENGTH}`}
        strokeDashoffset={-start}
        transform="rotate(-90 60 60)"
      />
    );
    start += length;
    return arc;
  });
  const words = counts.map(({ status, count }) => `${count} ${text.status[status]}`).join(', ');
  return (
    <div className="sc-donut">
      <svg viewBox="0 0 120 120" width="150" height="150" role="img" aria-label={text.overview.donut(words)}>
        {arcs}
        <text x="60" y="66" textAnchor="middle">
          {total}
        </text>
        <text x="60" y="82" textAnchor="middle">
          {text.overview.count(total)}
        </text>
      </svg>
      <ul className="sc-plain">
        {counts.map(({ status, count }) => (
          <li key={status}>
            <StatusWords status={status} /> {count}
          </li>
        ))}
      </ul>
    </div>
  );
}
