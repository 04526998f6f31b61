import {
  Masthead,
  MastheadBrand,
  MastheadContent,
  MastheadLogo,
  MastheadMain,
  MastheadToggle,
} from '@patternfly/react-core/dist/dynamic/components/Masthead';
import { Nav, NavItem, NavList } from '@patternfly/react-core/dist/dynamic/components/Nav';
import { Page, PageSidebar, PageSidebarBody, PageToggleButton } from '@patternfly/react-core/dist/dynamic/components/Page';
import { SkipToContent } from '@patternfly/react-core/dist/dynamic/components/SkipToContent';
import BarsIcon from '@patternfly/react-icons/dist/esm/icons/bars-icon';
import { type ReactNode, useState } from 'react';
import { Link, useSearchParams } from 'react-router';
import type { Session } from '../api/contract.gen';
import { shared } from '../options';
import { text } from '../text';
import { Controls, Status } from './Controls';

const NARROW = 1200; // the width under which the navigation lies over the page

interface Props {
  user: Session;
  pages: { path: string; title: string }[];
  /** The path of the page that is open, or that lists what is. */
  current: string;
  children: ReactNode;
}

/** Navigation, masthead, and the page between them. */
export function Shell({ user, pages, current, children }: Props) {
  const [query] = useSearchParams();
  const [open, setOpen] = useState(window.innerWidth >= NARROW);
  const masthead = (
    <Masthead>
      <MastheadMain>
        <MastheadToggle>
          <PageToggleButton
            variant="plain"
            aria-label={text.shell.toggleNavigation}
            isSidebarOpen={open}
            onSidebarToggle={() => setOpen(!open)}
          >
            <BarsIcon />
          </PageToggleButton>
        </MastheadToggle>
        <MastheadBrand>
          <MastheadLogo component={(props) => <Link {...props} to={`/${shared(query)}`} className="sc-brand" />}>
            <img src="/sail.svg" alt="" width="24" height="24" />
            {text.product}
          </MastheadLogo>
        </MastheadBrand>
      </MastheadMain>
      <MastheadContent>
        <Controls />
        <Status user={user} />
      </MastheadContent>
    </Masthead>
  );
  const sidebar = (
    <PageSidebar isSidebarOpen={open}>
      <PageSidebarBody>
        <Nav aria-label={text.shell.navigation} onSelect={() => window.innerWidth < NARROW && setOpen(false)}>
          <NavList>
            {pages.map(({ path, title }) => (
              <NavItem key={path} itemId={path} isActive={current === path}>
                <Link to={path + shared(query)} aria-current={current === path ? 'page' : undefined}>
                  {title}
                </Link>
              </NavItem>
            ))}
          </NavList>
        </Nav>
      </PageSidebarBody>
    </PageSidebar>
  );
  return (
    <Page
      masthead={masthead}
      sidebar={sidebar}
      mainContainerId="main"
      skipToContent={<SkipToContent href="#main">{text.shell.skip}</SkipToContent>}
      isContentFilled
    >
      {children}
    </Page>
  );
}
