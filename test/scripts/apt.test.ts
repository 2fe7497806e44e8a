import { expect, test } from 'vitest';
import { backportsSources, parseMadison } from '../../scripts/apt.mjs';

test('backports come from the mirror of a one-line sources.list, options included', () => {
  const text = [
    '# deb http://old.example/debian bookworm main',
    'deb [signed-by=/usr/share/keyrings/a.gpg arch=amd64] https://mirror.example/debian/ bookworm main contrib # fast',
    'deb-src https://mirror.example/debian/ bookworm main',
    'deb https://mirror.example/debian/ bookworm-updates main',
  ].join('\n');
  expect(backportsSources([{ name: 'sources.list', text }], 'bookworm')).toEqual([
    {
      name: 'backports.list',
      text: 'deb [signed-by=/usr/share/keyrings/a.gpg arch=amd64] https://mirror.example/debian/ bookworm-backports main\n',
    },
  ]);
});

test('backports come from the mirror of a deb822 file, with its key and without its comments', () => {
  const text = `Types: deb deb-src
# kept by hand
URIs: http://mirror.example/debian
Suites: bookworm bookworm-updates
Components: main contrib
Signed-By:
 -----BEGIN PGP PUBLIC KEY BLOCK-----
 .
 mQINBGPL
 -----END PGP PUBLIC KEY BLOCK-----

Types: deb
URIs: http://mirror.example/debian-security
Suites: bookworm-security
Components: main
`;
  expect(backportsSources([{ name: 'debian.sources', text }], 'bookworm')).toEqual([
    {
      name: 'backports.sources',
      text: `types: deb
uris: http://mirror.example/debian
suites: bookworm-backports
components: main
signed-by:
 -----BEGIN PGP PUBLIC KEY BLOCK-----
 .
 mQINBGPL
 -----END PGP PUBLIC KEY BLOCK-----
`,
    },
  ]);
});

test("the distribution's own archive is tried before others that use the release's name", () => {
  const files = [
    { name: 'docker.list', text: 'deb https://docker.example/linux/debian bookworm stable\n' },
    { name: 'tool.list', text: 'deb https://tool.example/apt bookworm main\n' },
    {
      name: 'off.sources',
      text: 'Enabled: no\nTypes: deb\nURIs: http://off.example/debian\nSuites: bookworm\nComponents: main\n',
    },
    { name: 'sources.list', text: 'deb http://mirror.example/debian bookworm main\n' },
  ];
  expect(backportsSources(files, 'bookworm').map(({ text }) => text)).toEqual([
    'deb http://mirror.example/debian bookworm-backports main\n',
    'deb https://tool.example/apt bookworm-backports main\n',
  ]);
});

test('the versions of a package are read from apt-cache madison', () => {
  const text = `mesa-vulkan-drivers | 25.0.7-2~bpo12+1 | http://mirror.example/debian bookworm-backports/main amd64 Packages
mesa-vulkan-drivers | 1:22.3.6-1+deb12u1 | http://mirror.example/debian bookworm/main amd64 Packages
      mesa | 22.3.6-1 | http://mirror.example/debian bookworm/main Sources
`;
  expect(parseMadison(text)).toEqual([
    { version: '25.0.7-2~bpo12+1', suite: 'bookworm-backports', major: 25 },
    { version: '1:22.3.6-1+deb12u1', suite: 'bookworm', major: 22 },
  ]);
});
