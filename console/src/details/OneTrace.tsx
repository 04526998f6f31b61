import { Button } from '@patternfly/react-core/dist/dynamic/components/Button';
import { type CSSProperties, Fragment, useState } from 'react';
import { Link, useSearchParams } from 'react-router';
import { useApi } from '../api/client';
import type { Span, SpanRank } from '../api/contract.gen';
import { clock, duration, percent } from '../format';
import { shared } from '../options';
import { Note } from '../pages/Card';
import { Head } from '../shell/Head';
import { StatusMark } from '../shell/health';
import { Loading, Problem } from '../shell/states';
import { details as text } from '../text.details';
import { Facts, PlainTable } from './Table';
import { Notes, When } from './parts';
import { bar, heat } from './traceView';

interface Props {
  id: string;
  /** What it is compared with. */
  window: string;
  onSelect: (id: string) => void;
}

/** A trace span by span, each against others of its operation, and the traces that are like it. */
export default function OneTrace({ id, window, onSelect }: Props) {
  const [query] = useSearchParams();
  const comparison = useApi('/api/traces/comparison', { id, window }, 0);
  const compared = comparison.isPlaceholderData ? undefined : comparison.data;
  const { data, error, refetch } = useApi('/api/traces/spans', { id }, 0);
  const [open, setOpen] = useState<ReadonlySet<number>>(new Set());
  const toggle = (index: number): void =>
    setOpen((before) => (before.has(index) ? new Set([...before].filter((one) => one !== index)) : new Set([...before, index])));
  return (
    <section className="sc-card" aria-label={text.traces.one}>
      <div className="sc-between">
        <h2>{text.traces.one}</h2>
        <span className="sc-status-words">
          <Link to={`/graph${shared(query, { trace: id })}`}>{text.inGraph}</Link>
          <Button variant="secondary" onClick={() => onSelect('')}>
            {text.traces.close}
          </Button>
        </span>
      </div>
      {!data && (error ? <Problem error={error} retry={() => void refetch()} /> : <Loading />)}
      {data && (
        <>
          <Facts
            facts={[
              [text.traces.id, <code>{data.id}</code>],
              [text.traces.start, <When at={data.start} />],
              [text.traces.duration, duration(data.duration)],
              [text.traces.spans, data.spans.length],
            ]}
          />
          <div className="sc-scroll" tabIndex={0} role="group" aria-label={text.traces.spans}>
            <table className="sc-table sc-spans" aria-label={text.traces.spans}>
              <Head titles={[text.traces.service, text.traces.operation, text.traces.when, text.traces.duration, ...text.traces.quantiles, text.traces.others]} />
              <tbody>
                {data.spans.map((span, index) => {
                  const place = bar(span, data);
                  return (
                    <Fragment key={index}>
                      <tr>
                        <th scope="row" style={{ paddingInlineStart: `${0.4 + span.depth * 0.9}rem` }}>
                          <span className="sc-status-words">
                            {span.error && <StatusMark status="Failure" />}
                            {span.service} <span className="sc-where">{span.kind}</span>
                          </span>
                        </th>
                        <td>
                          <button type="button" className="sc-link" aria-expanded={open.has(index)} onClick={() => toggle(index)}>
                            {span.operation}
                          </button>
                        </td>
                        <td className="sc-bar-cell">
                          <span
                            className={`sc-bar-of-time ${span.error ? 'sc-failure' : 'sc-healthy'}`}
                            style={{ marginInlineStart: `${place.left}%`, width: `${place.width}%` }}
                          />
                        </td>
                        <td className="sc-number">{duration(span.duration)}</td>
                        <Heat span={span} rank={compared?.spans[index]} />
                      </tr>
                      {open.has(index) && (
                        <tr>
                          <td colSpan={9}>
                            <Tags span={span} />
                          </td>
                        </tr>
                      )}
                    </Fragment>
                  );
                })}
              </tbody>
            </table>
          </div>
          {comparison.error && <Notes notes={[comparison.error.message]} />}
          {compared && <Note>{compared.looked ? text.traces.compared(compared.looked, window) : text.traces.notCompared(window)}</Note>}
          {compared && compared.similar.length > 0 && (
            <PlainTable
              label={text.traces.similar}
              columns={[text.traces.similar, text.traces.likeness, text.traces.duration, text.traces.against, text.traces.spans, text.traces.errors]}
              rows={compared.similar.map(({ trace, likeness }) => [
                trace.id,
                <button type="button" className="sc-link" onClick={() => onSelect(trace.id)}>
                  {clock(trace.start)} {trace.operation}
                </button>,
                percent(likeness),
                duration(trace.duration),
                text.traces.than(duration(Math.abs(trace.duration - data.duration)), trace.duration > data.duration),
                trace.spans,
                trace.errors,
              ])}
            />
          )}
        </>
      )}
    </section>
  );
}

/** How long a span took against quantiles of its operation: the redder, the more above; the greener, the more below. */
function Heat({ span, rank }: { span: Span; rank: SpanRank | null | undefined }) {
  if (!rank) return <td colSpan={5} className="sc-where">{rank === null && text.traces.alone}</td>;
  return (
    <>
      {rank.quantiles.map((quantile, index) => {
        const { slower, strength } = heat(span.duration, quantile);
        return (
          <td key={index} className={`sc-number sc-heat ${slower ? 'sc-failure' : 'sc-healthy'}`} style={{ '--sc-heat': `${strength}%` } as CSSProperties}>
            {slower ? '+' : '−'}
            {duration(Math.abs(span.duration - quantile))}
          </td>
        );
      })}
      <td className="sc-number">{text.traces.faster(percent(rank.faster), rank.count)}</td>
    </>
  );
}

function Tags({ span }: { span: Span }) {
  return <Facts facts={Object.entries(span.tags).map(([name, value]) => [name, <code className="sc-tag">{value}</code>] as const)} />;
}
