/** Adds to the package what is not in this folder: the types, and the licence. */

import { execFileSync } from 'node:child_process'
import { cp } from 'node:fs/promises'

const types = ['--noEmit', 'false', '--declaration', '--emitDeclarationOnly', '--outDir', 'types']
execFileSync('npx', ['tsc', '--rootDir', 'src/core', ...types, '-p', 'tsconfig.core.json'], { stdio: 'inherit' })
for (const file of ['LICENSE', 'NOTICE']) await cp(new URL(`../${file}`, import.meta.url), new URL(file, import.meta.url))
