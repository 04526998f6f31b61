import { useEffect, useId, useRef, useState } from 'react';
import { useApi } from '../api/client';
import { text } from '../text';

interface Props {
  chosen: string[];
  onChange: (namespaces: string[]) => void;
}

/** Chooses namespaces: a button that opens check boxes with a filter. None chosen means all. */
export function Namespaces({ chosen, onChange }: Props) {
  const [open, setOpen] = useState(false);
  const [filter, setFilter] = useState('');
  const root = useRef<HTMLDivElement>(null);
  const button = useRef<HTMLButtonElement>(null);
  const id = useId();
  const namespaces = useApi('/api/namespaces', {}, 0);
  const names = [...new Set([...(namespaces.data ?? []).map((one) => one.name), ...chosen])].sort();
  const shown = names.filter((name) => name.includes(filter.trim().toLowerCase()));
  useEffect(() => {
    if (!open) return;
    const outside = (event: Event): void => {
      if (!root.current?.contains(event.target as Node)) setOpen(false);
    };
    document.addEventListener('pointerdown', outside);
    document.addEventListener('focusin', outside);
    return () => {
      document.removeEventListener('pointerdown', outside);
      document.removeEventListener('focusin', outside);
    };
  }, [open]);
  const close = (): void => {
    setOpen(false);
    button.current?.focus();
  };
  const toggle = (name: string): void => onChange(chosen.includes(name) ? chosen.filter((one) => one !== name) : [...chosen, name].sort());
  const label = chosen.length === 0 ? text.namespaces.all : chosen.length === 1 ? chosen[0] : text.namespaces.some(chosen.length);
  return (
    <div className="sc-namespaces" ref={root} onKeyDown={(event) => event.key === 'Escape' && open && close()}>
      <button
        ref={button}
        type="button"
        className="sc-toggle"
        aria-expanded={open}
        aria-controls={id}
        title={chosen.join(', ')}
        onClick={() => setOpen(!open)}
      >
        <span>{label}</span>
        <span aria-hidden className="sc-caret" />
      </button>
      {open && (
        <div id={id} className="sc-popup" role="group" aria-label={text.namespaces.label}>
          <input
            className="sc-input"
            type="search"
            autoFocus
            aria-label={text.namespaces.filter}
            placeholder={text.namespaces.filter}
            value={filter}
            onChange={(event) => setFilter(event.target.value)}
          />
          <div className="sc-options">
            {shown.map((name) => (
              <label key={name}>
                <input type="checkbox" checked={chosen.includes(name)} onChange={() => toggle(name)} /> {name}
              </label>
            ))}
            {!shown.length && <p>{text.namespaces.none}</p>}
          </div>
          <button type="button" className="sc-link" disabled={!chosen.length} onClick={() => onChange([])}>
            {text.namespaces.clear}
          </button>
        </div>
      )}
    </div>
  );
}
