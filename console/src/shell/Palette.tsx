/** The command palette: to every page, and to every application, workload, service and object by its name. */
import { useEffect, useMemo, useRef, useState } from 'react';
import { useNavigate, useSearchParams } from 'react-router';
import { useApi } from '../api/client';
import { linkTo } from '../config/links';
import { shared } from '../options';
import { text } from '../text';

interface Props {
  pages: { path: string; title: string }[];
  onClose: () => void;
}

interface Entry {
  title: string;
  kind: string;
  to: string;
}

const MOST = 12;

export default function Palette({ pages, onClose }: Props) {
  const dialog = useRef<HTMLDialogElement>(null);
  const [typed, setTyped] = useState('');
  const [active, setActive] = useState(0);
  const [query] = useSearchParams();
  const navigate = useNavigate();
  const workloads = useApi('/api/workloads');
  const services = useApi('/api/services');
  const config = useApi('/api/config');
  useEffect(() => dialog.current?.showModal(), []);
  const entries = useMemo<Entry[]>(() => {
    const things = [...(services.data ?? []), ...(workloads.data ?? []), ...(config.data ?? [])];
    return [
      ...pages.map(({ path, title }) => ({ title, kind: text.palette.page, to: path })),
      ...things.map((one) => ({ title: `${one.namespace}/${one.name}`, kind: one.kind, to: linkTo(one) })),
    ];
  }, [pages, services.data, workloads.data, config.data]);
  const found = useMemo(() => matching(entries, typed).slice(0, MOST), [entries, typed]);
  const go = (entry: Entry | undefined): void => {
    if (!entry) return;
    onClose();
    void navigate(entry.to + shared(query));
  };
  const move = (step: number): void => setActive((now) => Math.min(Math.max(now + step, 0), found.length - 1));
  return (
    <dialog ref={dialog} className="sc-palette" aria-label={text.palette.title} onClose={onClose}>
      <input
        className="sc-input"
        role="combobox"
        aria-expanded
        aria-controls="palette"
        aria-activedescendant={found[active] && `palette-${active}`}
        aria-label={text.palette.title}
        placeholder={text.palette.hint}
        value={typed}
        autoFocus
        onChange={(event) => {
          setTyped(event.target.value);
          setActive(0);
        }}
        onKeyDown={(event) => {
          if (event.key === 'ArrowDown') move(1);
          else if (event.key === 'ArrowUp') move(-1);
          else if (event.key === 'Enter') go(found[active]);
          else return;
          event.preventDefault();
        }}
      />
      <ul id="palette" role="listbox" className="sc-plain" aria-label={text.palette.title}>
        {found.map((entry, index) => (
          <li
            key={entry.kind + entry.title}
            id={`palette-${index}`}
            role="option"
            aria-selected={index === active}
            onClick={() => go(entry)}
          >
            {entry.title} <span className="sc-where">{entry.kind}</span>
          </li>
        ))}
      </ul>
      {found.length === 0 && <p>{text.palette.none}</p>}
    </dialog>
  );
}

/** Entries whose title or kind have all typed words, those that start with the text first. */
export function matching(entries: Entry[], typed: string): Entry[] {
  const words = typed.toLowerCase().split(/\s+/).filter(Boolean);
  const hits = entries.filter(({ title, kind }) => words.every((word) => `${title} ${kind}`.toLowerCase().includes(word)));
  const starts = ({ title }: Entry): number => Number(!(title.split('/').pop() ?? '').toLowerCase().startsWith(words[0] ?? ''));
  return hits.map((entry, index) => ({ entry, index })).sort((a, b) => starts(a.entry) - starts(b.entry) || a.index - b.index).map(({ entry }) => entry);
}
