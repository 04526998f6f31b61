/** Which trace is marked in the graph. */
import { Act } from '../shell/Act';
import { useEffect, useMemo } from 'react';
import { useApi } from '../api/client';
import type { Graph } from '../api/contract.gen';
import { duration, moment } from '../format';
import { text } from '../text';
import type { Change } from '../useOptions';
import type { Matches } from './find';
import { traced } from './traced';

interface Props {
  id: string;
  graph: Graph | undefined;
  change: Change;
  onMatches: (matches: Matches | null) => void;
}

export default function TraceBar({ id, graph, change, onMatches }: Props) {
  const { data, error } = useApi('/api/traces/spans', { id }, 0);
  const found = useMemo(() => (data && graph ? traced(data, graph) : null), [data, graph]);
  useEffect(() => {
    onMatches(found);
    return () => onMatches(null);
  }, [found, onMatches]);
  const errors = data?.spans.filter((span) => span.error).length ?? 0;
  return (
    <p className="sc-note" role="status">
      {data && text.trace.marked(moment(data.start), data.spans.length, duration(data.duration), errors)}{' '}
      {found && !found.nodes.size && text.trace.none}
      {!data && error && error.message}{' '}
      {data && (
        <Act words={text.trace.then} onClick={() => change({ at: String(Math.ceil(data.start / 10) * 10) })} />
      )}{' '}
      <Act words={text.trace.end} onClick={() => change({ trace: '' })} />
    </p>
  );
}
