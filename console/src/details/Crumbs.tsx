import { Link } from 'react-router';
import { details as text } from '../text.details';

/** The way to this page: words with paths, and the page itself. */
export function Crumbs({ steps, here }: { steps: readonly (readonly [string, string])[]; here: string }) {
  return (
    <nav aria-label={text.breadcrumb}>
      <ol className="sc-crumbs">
        {steps.map(([words, path]) => (
          <li key={path}>
            <Link to={path}>{words}</Link>
          </li>
        ))}
        <li aria-current="page">{here}</li>
      </ol>
    </nav>
  );
}
