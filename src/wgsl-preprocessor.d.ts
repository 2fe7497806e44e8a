declare module 'wgsl-preprocessor/wgsl-preprocessor.js' {
  /** A template tag, called here as a function on the text between the conditions and their values. */
  export function wgsl(strings: readonly string[], ...values: readonly boolean[]): string;
}
