// Markdown as models write it, made of DOM nodes: no text of a model is ever read as HTML.

const INLINE = /`([^`]+)`|\*\*(.+?)\*\*|\*([^*\s][^*]*)\*|~~(.+?)~~|\[([^\]]+)\]\((https?:\/\/[^\s)]+)\)/;
const ITEM = /^(\s*)([-*+]|\d+[.)])\s+(.*)$/;

function element(name, ...children) {
  const made = document.createElement(name);
  made.append(...children);
  return made;
}

function link(words, address) {
  const made = element("a", ...inline(words));
  made.href = address; // http and https only, see INLINE
  made.rel = "noopener noreferrer nofollow";
  made.target = "_blank";
  return made;
}

function inline(text) {
  const found = INLINE.exec(text);
  if (!found) return [text];
  const [whole, code, strong, emphasis, struck, words, address] = found;
  let made;
  if (code !== undefined) made = element("code", code);
  else if (strong !== undefined) made = element("strong", ...inline(strong));
  else if (emphasis !== undefined) made = element("em", ...inline(emphasis));
  else if (struck !== undefined) made = element("s", ...inline(struck));
  else made = link(words, address);
  return [text.slice(0, found.index), made, ...inline(text.slice(found.index + whole.length))];
}

function code(lines) {
  lines.shift();
  const inside = [];
  while (lines.length && !/^\s*```\s*$/.test(lines[0])) inside.push(lines.shift());
  lines.shift();
  const made = element("pre", element("code", inside.join("\n")));
  made.tabIndex = 0; // to be scrolled by keyboard
  return made;
}

function list(lines) {
  const [, indent, mark] = ITEM.exec(lines[0]);
  const made = element(/\d/.test(mark) ? "ol" : "ul");
  if (/\d/.test(mark)) made.start = parseInt(mark, 10);
  for (let found; lines.length && (found = ITEM.exec(lines[0])); ) {
    if (found[1].length < indent.length) break;
    if (found[1].length > indent.length + 1 && made.lastChild) made.lastChild.append(list(lines));
    else made.append(element("li", ...inline((lines.shift(), found[3]))));
    while (lines.length && /^\s+\S/.test(lines[0]) && !ITEM.test(lines[0])) {
      made.lastChild.append(" ", ...inline(lines.shift().trim()));
    }
    if (lines.length > 1 && !lines[0].trim() && ITEM.test(lines[1])) lines.shift();
  }
  return made;
}

function quote(lines) {
  const inside = [];
  while (lines.length && lines[0].startsWith(">")) inside.push(lines.shift().replace(/^> ?/, ""));
  return element("blockquote", blocks(inside));
}

function paragraph(lines) {
  const inside = [];
  do inside.push(lines.shift());
  while (lines.length && lines[0].trim() && !/^\s*```|^#{1,6} |^>/.test(lines[0]) && !ITEM.test(lines[0]));
  return element("p", ...inline(inside.join("\n")));
}

function block(lines) {
  const heading = /^(#{1,6}) +(.*?)#*$/.exec(lines[0]);
  if (/^\s*```/.test(lines[0])) return code(lines);
  if (/^\s*([-*_])(\s*\1){2,}\s*$/.test(lines[0])) return lines.shift(), element("hr");
  if (ITEM.test(lines[0])) return list(lines);
  if (lines[0].startsWith(">")) return quote(lines);
  // The page has its own first two levels.
  if (heading) return lines.shift(), element(`h${Math.min(heading[1].length + 2, 6)}`, ...inline(heading[2]));
  return paragraph(lines);
}

function blocks(lines) {
  const made = document.createDocumentFragment();
  while (lines.length) {
    if (lines[0].trim()) made.append(block(lines));
    else lines.shift();
  }
  return made;
}

export function markdown(text) {
  return blocks(text.split("\n"));
}
