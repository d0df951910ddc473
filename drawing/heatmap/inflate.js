// Bytes as they were before Python deflated them.

/**
 * @param {Uint8Array<ArrayBuffer>} bytes
 */
export async function inflate(bytes) {
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}
