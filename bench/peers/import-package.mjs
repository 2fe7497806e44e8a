/** @file Imports what is not installed with the project, so that neither types nor bundlers look for it. */

/**
 * @param {string} url
 * @returns {Promise<unknown>} the module
 */
export const importPackage = (url) => import(/* @vite-ignore */ url);
