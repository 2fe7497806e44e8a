/** How many random cases to try: all of them in `npm test`, a part where a check is to be quick (`npm run check`, plain `vitest`). */
export const numCases = (all: number): number => (process.env.MANY_CASES === '1' ? all : Math.ceil(all / 5));
