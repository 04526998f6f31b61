import { Check, Select } from '../shell/Act';
import { Button } from '@patternfly/react-core/dist/dynamic/components/Button';
import { useQuery } from '@tanstack/react-query';
import { Fragment, useEffect, useMemo, useRef, useState } from 'react';
import { post } from '../api/client';
import type { LogLine } from '../api/contract.gen';
import { utc } from '../format';
import { SearchBox } from '../pages/Filters';
import { Empty, Loading, Problem } from '../shell/states';
import { details as text } from '../text.details';
import { useTyped } from '../useOptions';
import { PlainTable } from './Table';
import { Notes } from './parts';
import { matcher, timeOf, withoutTime } from './lines';
import { useParameters } from './parameters';
import type { Subject } from './subject';
import { useLogs } from './useLogs';

const DEFAULTS = { search: '', pod: '', without: '', lines: '300', live: 'true' };
const MOST = ['100', '300', '1000', '2000'];
const COLOURS = 8;

/** Logs of the pods of a subject, application and proxy together, by time. */
export default function LogsTab({ subject, pods }: { subject: Subject; pods: string[] }) {
  const [chosen, change] = useParameters(DEFAULTS);
  const [search, type] = useTyped(chosen.search, (value) => change({ search: value }, true));
  const most = MOST.includes(chosen.lines) ? Number(chosen.lines) : 300;
  const live = chosen.live === 'true';
  const { shown, data, error, refetch, following } = useLogs({ ...subject, pods: chosen.pod, lines: most }, most, live);
  const matches = useMemo(() => matcher(chosen.search), [chosen.search]);
  const without = useMemo(() => new Set(chosen.without.split(',')), [chosen.without]);
  const lines = useMemo(
    () => (shown?.lines ?? []).filter((line) => !without.has(line.container) && (!matches || matches(line.text))),
    [shown, without, matches],
  );
  const containers = data?.containers ?? [];
  const toggle = (name: string): void => {
    const next = without.has(name) ? [...without].filter((one) => one !== name) : [...without, name];
    change({ without: next.filter(Boolean).sort().join(',') });
  };
  return (
    <>
      <div className="sc-filters" role="search">
        <SearchBox label={text.logs.search} hint={text.logs.searchHint} value={search} onChange={type} />
        {pods.length > 1 && (
          <Select
            label={text.logs.pod}
            value={chosen.pod}
            choices={[['', text.logs.allPods], ...pods.map((pod) => [pod, pod] as const)]}
            onChange={(pod) => change({ pod })}
          />
        )}
        <Select
          label={text.logs.lines}
          value={String(most)}
          choices={MOST.map((count) => [count, text.logs.mostLines(count)] as const)}
          onChange={(count) => change({ lines: count })}
        />
        <fieldset className="sc-containers">
          <legend className="sc-hidden">{text.logs.containers}</legend>
          {containers.map((name, at) => (
            <label key={name} className="sc-check">
              <input type="checkbox" checked={!without.has(name)} onChange={() => toggle(name)} />
              <span style={{ color: colourOf(at) }}>{name}</span>
            </label>
          ))}
        </fieldset>
        <Check label={text.logs.live} value={live} onChange={(on) => change({ live: String(on) })} />
        {!live && (
          <Button variant="secondary" onClick={() => void refetch()}>
            {text.logs.again}
          </Button>
        )}
        <span role="status" className="sc-fresh-words">
          {data && text.logs.count(lines.length, shown?.lines.length ?? 0)}
          {live && data && ` · ${following ? text.logs.following : text.logs.connecting}`}
        </span>
      </div>
      {!matches && <p className="sc-error">{text.logs.badSearch}</p>}
      <Notes notes={(shown?.problems ?? []).map((problem) => text.logs.problem(problem))} />
      {!data && (error ? <Problem error={error} retry={() => void refetch()} /> : <Loading />)}
      {data && !lines.length && (
        <Empty
          title={text.logs.none}
          words={!pods.length ? text.overview.noPods : shown?.lines.length ? text.logs.noneMatches : text.logs.nothingYet}
        />
      )}
      {lines.length > 0 && <Lines key={`${chosen.search}/${chosen.without}/${chosen.pod}/${most}`} lines={lines} containers={containers} />}
    </>
  );
}

const colourOf = (at: number): string => `var(--sc-line-${Math.max(0, at) % COLOURS})`;

/** The lines; the last stay in sight while they are. While one is explained they stand still. */
function Lines({ lines: latest, containers }: { lines: LogLine[]; containers: string[] }) {
  const box = useRef<HTMLDivElement>(null);
  const atEnd = useRef(true);
  const [open, setOpen] = useState<string | null>(null);
  const [held, setHeld] = useState<LogLine[] | null>(null);
  const lines = held ?? latest;
  const toggle = (key: string): void => {
    setOpen(open === key ? null : key);
    setHeld(open === key ? null : lines);
  };
  useEffect(() => {
    if (box.current && atEnd.current) box.current.scrollTop = box.current.scrollHeight;
  }, [lines]);
  const onScroll = (): void => {
    const element = box.current;
    if (element) atEnd.current = element.scrollHeight - element.scrollTop - element.clientHeight < 8;
  };
  const many = new Set(lines.map((line) => line.pod)).size > 1;
  const seen = new Map<string, number>();
  return (
    <>
      <div ref={box} className="sc-lines" role="region" aria-label={text.tab['logs']} tabIndex={0} onScroll={onScroll}>
        {lines.map((line) => {
          const same = `${line.pod}/${line.container}/${line.time}`;
          const count = (seen.get(same) ?? 0) + 1;
          seen.set(same, count);
          const key = `${same}/${count}`;
          return (
            <Fragment key={key}>
              <div className={`sc-line sc-line-${line.level}`}>
                <span className="sc-where" title={utc(line.time)}>
                  {timeOf(line)}
                </span>
                <span style={{ color: colourOf(containers.indexOf(line.container)) }} title={line.pod}>
                  {many ? `${line.pod} ${line.container}` : line.container}
                </span>
                {line.access ? (
                  <button type="button" className="sc-line-text" aria-expanded={open === key} onClick={() => toggle(key)}>
                    {withoutTime(line.text)}
                  </button>
                ) : (
                  <span>{line.text}</span>
                )}
              </div>
              {open === key && <Explanation line={line.text} />}
            </Fragment>
          );
        })}
      </div>
      {held && (
        <p role="status" className="sc-where">
          {text.logs.held}
        </p>
      )}
    </>
  );
}

/** A line of an access log, field by field. */
function Explanation({ line }: { line: string }) {
  const { data, error, refetch } = useQuery({
    queryKey: ['/api/logs/explain', line],
    queryFn: () => post('/api/logs/explain', { line }),
    staleTime: Infinity,
  });
  const place = useRef<HTMLElement>(null);
  useEffect(() => {
    void place.current?.scrollIntoView({ block: 'nearest' });
  }, [data]);
  if (!data) return error ? <Problem error={error} retry={() => void refetch()} /> : <Loading />;
  return (
    <section ref={place} className="sc-explained" aria-label={text.logs.explanation}>
      <p>
        <strong>{data.summary}.</strong>
      </p>
      <PlainTable
        label={text.logs.explanation}
        columns={[text.logs.field, text.logs.value, text.logs.meaning]}
        rows={data.fields.map(({ name, value, meaning }) => [name, name, <code>{value}</code>, meaning])}
      />
    </section>
  );
}
