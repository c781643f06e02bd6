/** Server-sent events, as the HTML standard has them, of which only the data is wanted: feed it text, it returns data. */
export class EventText {
  #rest = "";
  #data: string[] = [];

  push(text: string): string[] {
    const lines = (this.#rest + text).split(/\r\n|\n|\r(?!$)/);
    this.#rest = lines.pop() ?? "";
    const found: string[] = [];
    for (const line of lines) {
      if (line.startsWith("data:")) this.#data.push(line.slice(line[5] === " " ? 6 : 5));
      else if (!line && this.#data.length) found.push(this.#data.splice(0).join("\n"));
    }
    return found;
  }
}
