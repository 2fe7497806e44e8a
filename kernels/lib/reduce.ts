/** @file The ways to add up over the lanes of a workgroup or of its teams, as parts with the same names. */
import { wgslFile } from '../../src/gpu/kernel.ts';
import subgroups from './reduce-subgroups.wgsl?raw';
import teams from './reduce-teams.wgsl?raw';
import workgroup from './reduce-workgroup.wgsl?raw';
import waves from './waves.wgsl?raw';

export const reduceSubgroups = wgslFile('kernels/lib/reduce-subgroups.wgsl', subgroups);
export const reduceWorkgroup = wgslFile('kernels/lib/reduce-workgroup.wgsl', workgroup);
/** Of neighbouring lanes: several sets of sums in a workgroup. */
export const reduceTeams = wgslFile('kernels/lib/reduce-teams.wgsl', teams);
/** Of subgroups, each for itself. */
export const wavesPart = wgslFile('kernels/lib/waves.wgsl', waves);
