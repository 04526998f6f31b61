import { Suspense, lazy, useEffect } from 'react';
import { Route, Routes, useLocation } from 'react-router';
import { unauthorized, useApi } from '../api/client';
import { text } from '../text';
import { Login } from './Login';
import { Shell } from './Shell';
import { Boundary, Empty, Loading, Problem } from './states';

const OverviewPage = lazy(() => import('../pages/OverviewPage'));
const GraphPage = lazy(() => import('../graph/GraphPage'));
const ItemsPage = lazy(() => import('../pages/ItemsPage'));
const ConfigPage = lazy(() => import('../pages/ConfigPage'));

/** The pages, by path: the navigation and the routes are made from these. */
export const PAGES = [
  { path: '/', title: text.shell.overview, element: <OverviewPage /> },
  { path: '/graph', title: text.shell.graph, element: <GraphPage /> },
  {
    path: '/applications',
    title: text.shell.applications,
    element: <ItemsPage key="apps" path="/api/apps" title={text.shell.applications} />,
  },
  {
    path: '/workloads',
    title: text.shell.workloads,
    element: <ItemsPage key="workloads" path="/api/workloads" title={text.shell.workloads} />,
  },
  { path: '/services', title: text.shell.services, element: <ItemsPage key="services" path="/api/services" title={text.shell.services} /> },
  { path: '/config', title: text.shell.config, element: <ConfigPage /> },
];

export function App() {
  const session = useApi('/api/session');
  const { pathname } = useLocation();
  const page = PAGES.find(({ path }) => path === pathname);
  useEffect(() => {
    document.title = `${page?.title ?? text.shell.notFound} · ${text.product}`;
  }, [page]);
  useSearchKey();
  if (unauthorized(session.error)) return <Login />;
  if (!session.data)
    return session.error ? <Problem error={session.error} retry={() => void session.refetch()} /> : <Loading words={text.login.checking} />;
  return (
    <Shell user={session.data} pages={PAGES}>
      <Boundary key={pathname}>
        <Suspense fallback={<Loading />}>
          <Routes>
            {PAGES.map(({ path, element }) => (
              <Route key={path} path={path} element={element} />
            ))}
            <Route path="*" element={<Empty title={text.shell.notFound} words={text.shell.notFoundFix} />} />
          </Routes>
        </Suspense>
      </Boundary>
    </Shell>
  );
}

/** `/` goes to the page's search box. */
function useSearchKey(): void {
  useEffect(() => {
    const focus = (event: KeyboardEvent): void => {
      const target = event.target as HTMLElement;
      if (event.key !== '/' || event.ctrlKey || event.metaKey || target.closest('input, textarea, select')) return;
      const box = document.querySelector<HTMLInputElement>('[data-search] input, input[data-search]');
      if (box) {
        event.preventDefault();
        box.focus();
      }
    };
    document.addEventListener('keydown', focus);
    return () => document.removeEventListener('keydown', focus);
  }, []);
}
