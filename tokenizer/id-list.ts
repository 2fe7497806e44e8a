/** @file A growing list of token ids in one typed array. */
export class IdList {
  private data = new Uint32Array(256);
  length = 0;

  push(id: number): void {
    if (this.length === this.data.length) {
      const larger = new Uint32Array(this.data.length * 2);
      larger.set(this.data);
      this.data = larger;
    }
    this.data[this.length++] = id;
  }

  at(index: number): number {
    return this.data[index]!;
  }

  /** A copy of the ids in a new array. */
  toArray(): Uint32Array<ArrayBuffer> {
    return this.data.slice(0, this.length);
  }
}
