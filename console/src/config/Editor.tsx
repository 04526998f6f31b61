/** A YAML editor: markers at lines, completion from the kind's schema, and the change against what is there. */
import { autocompletion, completionKeymap } from '@codemirror/autocomplete';
import { defaultKeymap, history, historyKeymap, indentWithTab } from '@codemirror/commands';
import { yaml } from '@codemirror/lang-yaml';
import { HighlightStyle, indentOnInput, syntaxHighlighting } from '@codemirror/language';
import { type Diagnostic, lintGutter, setDiagnostics } from '@codemirror/lint';
import { unifiedMergeView } from '@codemirror/merge';
import { searchKeymap } from '@codemirror/search';
import { EditorState } from '@codemirror/state';
import { EditorView, keymap, lineNumbers } from '@codemirror/view';
import { tags } from '@lezer/highlight';
import { useEffect, useRef } from 'react';
import type { Marker } from '../api/contract.gen';
import { type Schema, options } from './completion';

interface Props {
  label: string;
  value: string;
  /** The text that a change is shown against; null to edit without it. */
  before: string | null;
  markers: Marker[];
  schema: Schema | undefined;
  readOnly: boolean;
  onChange: (value: string) => void;
  onApply: () => void;
}

const SEVERITIES: Record<string, Diagnostic['severity']> = { Error: 'error', Warning: 'warning', Info: 'info' };
const colours = HighlightStyle.define([
  { tag: [tags.propertyName, tags.definition(tags.propertyName)], color: 'var(--sc-tcp)' },
  { tag: tags.string, color: 'var(--sc-ink)' },
  { tag: [tags.number, tags.bool, tags.null], color: 'var(--sc-notready)' },
  { tag: tags.comment, color: 'var(--sc-subtle)', fontStyle: 'italic' },
]);
const theme = EditorView.theme({
  '&': { height: '100%', fontSize: '13px', backgroundColor: 'var(--sc-paper)', color: 'var(--sc-ink)' },
  '.cm-scroller': { fontFamily: 'var(--pf-t--global--font--family--mono, monospace)' },
  '.cm-gutters': { backgroundColor: 'var(--sc-under)', color: 'var(--sc-subtle)', border: '0' },
  '.cm-content': { caretColor: 'var(--sc-ink)' },
  '.cm-cursor': { borderLeftColor: 'var(--sc-ink)' },
  '.cm-tooltip': { backgroundColor: 'var(--sc-paper)', color: 'var(--sc-ink)', border: '1px solid var(--sc-line)' },
  '&.cm-focused': { outline: '2px solid var(--sc-tcp)', outlineOffset: '-2px' },
});

export default function Editor({ label, value, before, markers, schema, readOnly, onChange, onApply }: Props) {
  const holder = useRef<HTMLDivElement>(null);
  const view = useRef<EditorView | null>(null);
  const latest = useRef({ value, schema, onChange, onApply });
  useEffect(() => {
    latest.current = { value, schema, onChange, onApply };
  });
  useEffect(() => {
    if (!holder.current) return;
    const editor = new EditorView({
      parent: holder.current,
      state: EditorState.create({
        doc: latest.current.value,
        extensions: [
          lineNumbers(),
          history(),
          yaml(),
          indentOnInput(),
          lintGutter(),
          syntaxHighlighting(colours),
          theme,
          EditorState.readOnly.of(readOnly),
          EditorView.contentAttributes.of({ 'aria-label': label, tabindex: '0' }),
          autocompletion({
            override: [
              (context) => {
                const known = latest.current.schema;
                const line = context.state.doc.lineAt(context.pos);
                const above = context.state.doc.sliceString(0, context.pos).split('\n');
                const word = /[\w./-]*$/.exec(line.text.slice(0, context.pos - line.from))?.[0] ?? '';
                if (!known || (!word && !context.explicit)) return null;
                return {
                  from: context.pos - word.length,
                  options: options(known, above).map(({ insert, ...option }) => ({ ...option, apply: insert })),
                };
              },
            ],
          }),
          keymap.of([
            { key: 'Mod-Enter', run: () => (latest.current.onApply(), true) },
            ...completionKeymap,
            ...searchKeymap,
            ...historyKeymap,
            ...defaultKeymap,
            indentWithTab,
          ]),
          EditorView.updateListener.of((update) => {
            if (update.docChanged) latest.current.onChange(update.state.doc.toString());
          }),
          ...(before === null ? [] : [unifiedMergeView({ original: before, mergeControls: false })]),
        ],
      }),
    });
    view.current = editor;
    return () => {
      view.current = null;
      editor.destroy();
    };
  }, [label, before, readOnly]);
  useEffect(() => {
    const editor = view.current;
    if (editor && editor.state.doc.toString() !== value)
      editor.dispatch({ changes: { from: 0, to: editor.state.doc.length, insert: value } });
  }, [value]);
  useEffect(() => {
    const editor = view.current;
    if (!editor) return;
    const { doc } = editor.state;
    const diagnostics = markers.map((marker): Diagnostic => {
      const line = doc.line(Math.min(Math.max(marker.line, 1), doc.lines));
      const from = line.from + (line.text.length - line.text.trimStart().length);
      return {
        from,
        to: Math.max(line.to, from),
        severity: SEVERITIES[marker.severity] ?? 'info',
        source: marker.code,
        message: [marker.text, marker.fix].filter(Boolean).join(' '),
      };
    });
    editor.dispatch(setDiagnostics(editor.state, diagnostics));
  }, [markers, before, readOnly, label]);
  return <div ref={holder} className="sc-editor" />;
}
