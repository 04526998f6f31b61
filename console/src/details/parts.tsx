/** What several pages of details show: events, objects of the mesh, times. */
import { Alert } from '@patternfly/react-core/dist/dynamic/components/Alert';
import { Link, useSearchParams } from 'react-router';
import type { EventRow, MeshObject } from '../api/contract.gen';
import { linkTo } from '../config/links';
import { moment, utc } from '../format';
import { shared } from '../options';
import { Note } from '../pages/Card';
import { StatusMark } from '../shell/health';
import { Words } from '../shell/states';
import { details as text } from '../text.details';
import { PlainTable } from './Table';

const words = text.overview;

/** A moment in the user's zone, with UTC on hover. */
export function When({ at }: { at: string | number }) {
  return <span title={utc(at)}>{moment(at)}</span>;
}

export function ObjectLink({ object: { kind, namespace, name } }: { object: MeshObject }) {
  const [query] = useSearchParams();
  return (
    <span className="sc-nowrap">
      {kind} <Link to={linkTo({ kind, namespace, name }) + shared(query)}>{name}</Link> <span className="sc-where">{namespace}</span>
    </span>
  );
}

export function Events({ events, none }: { events: EventRow[]; none: string }) {
  if (!events.length) return <Note>{none}</Note>;
  return (
    <PlainTable
      label={words.events}
      columns={[words.last, words.reason, words.about_, words.message]}
      rows={events.map((one, index) => [
        `${one.kind}/${one.name}/${one.reason}/${one.last}/${index}`,
        <When at={one.last} />,
        <span className="sc-status-words">
          <StatusMark status={one.type === 'Warning' ? 'Degraded' : 'Healthy'} /> {one.reason}
        </span>,
        `${one.kind} ${one.name}`,
        one.message + words.times(one.count),
      ])}
    />
  );
}

/** What could not be read, and why. */
export function Notes({ notes }: { notes: string[] }) {
  return notes.map((note) => (
    <Alert key={note} isInline variant="info" title={<Words>{note}</Words>} component="p" />
  ));
}
