"""merge A B [old=new ...] lines from a file: puts module A's code into module B (made if absent), everywhere.

usage: merge.py ROOT PAIRS [--dry]
"""
import ast, re, sys, subprocess, io, tokenize
from pathlib import Path

root = Path(sys.argv[1]).resolve()
DRY = "--dry" in sys.argv
PY = [p for top in ("engine", "adapters", "workbench", "tools", "tests") for p in (root / top).rglob("*.py")]
texts = {p: p.read_text(encoding="utf-8") for p in PY}
OTHER = [root / p for p in subprocess.run(["git", "ls-files"], cwd=root, capture_output=True, text=True).stdout.split("\n")
         if p and p.rsplit(".", 1)[-1] in ("tsv", "yaml", "md", "toml", "po", "txt", "service", "html", "cfg") or p in ("Makefile", "Dockerfile", ".ci/run")]
other = {p: p.read_text(encoding="utf-8") for p in OTHER if p.exists() and p.suffix not in (".po",)}
dirty, dead = set(), set()

class No(Exception): pass

def path_of(name):
    base = root / name.replace(".", "/")
    if base.with_suffix(".py").exists() or base.with_suffix(".py") in texts: return base.with_suffix(".py")
    if (base / "__init__.py") in texts: return base / "__init__.py"
    return base.with_suffix(".py")

def dotted(path):
    return path.relative_to(root).as_posix().removesuffix(".py").removesuffix("/__init__").replace("/", ".")

def offsets(text):
    starts, at = [0], 0
    for line in text.splitlines(keepends=True):
        at += len(line); starts.append(at)
    return starts

class Edit:
    def __init__(self, text):
        self.text = text; self.tree = ast.parse(text); self.starts = offsets(text); self.edits = []; self.lines = text.splitlines(keepends=True)
    def pos(self, line, col):
        return self.starts[line - 1] + len(self.lines[line - 1].encode()[:col].decode()) if line <= len(self.lines) else len(self.text)
    def span(self, node): return self.pos(node.lineno, node.col_offset), self.pos(node.end_lineno, node.end_col_offset)
    def replace(self, node, new):
        self.edits.append((*self.span(node), new))
    def cut(self, a, b, new=""): self.edits.append((a, b, new))
    def done(self):
        out = self.text
        for a, b, new in sorted(set(self.edits), reverse=True): out = out[:a] + new + out[b:]
        return out

def import_text(module, aliases):
    names = ", ".join(a.name + (f" as {a.asname}" if a.asname else "") for a in aliases)
    return f"from {module} import {names}" if names else ""

def bound(tree, skip=()):
    """Names bound anywhere but by imports; imports as name -> what."""
    names, imps = set(), {}
    for n in ast.walk(tree):
        if isinstance(n, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)): names.add(n.name)
        if isinstance(n, ast.arg): names.add(n.arg)
        if isinstance(n, ast.Name) and isinstance(n.ctx, (ast.Store, ast.Del)): names.add(n.id)
        if isinstance(n, ast.ExceptHandler) and n.name: names.add(n.name)
        if isinstance(n, (ast.MatchAs, ast.MatchStar)) and n.name: names.add(n.name)
        if isinstance(n, ast.ImportFrom):
            for a in n.names: imps[a.asname or a.name] = f"{n.module}.{a.name}"
        if isinstance(n, ast.Import):
            for a in n.names: imps[a.asname or a.name.split(".")[0]] = a.name if a.asname else a.name.split(".")[0]
    return names, imps

def top_defs(tree):
    out = {}
    for n in tree.body:
        if isinstance(n, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)): out[n.name] = n
        elif isinstance(n, ast.Assign):
            for t in n.targets:
                for x in ast.walk(t):
                    if isinstance(x, ast.Name): out[x.id] = n
        elif isinstance(n, (ast.AnnAssign, ast.AugAssign)) and isinstance(n.target, ast.Name): out[n.target.id] = n
        elif isinstance(n, ast.TypeAlias if hasattr(ast, "TypeAlias") else ()): out[n.name.id] = n
    return out

def words(text, old, new):
    text = re.sub(rf"(?<![\w.]){re.escape(old)}(?![\w])", new, text)
    o, n = old.replace(".", "/"), new.replace(".", "/")
    npath = path_of(new).relative_to(root).as_posix()
    text = re.sub(rf"(?<![\w/]){re.escape(o)}\.py\b", npath, text)
    return text

def redirect(path, A, B):
    """Reader of A (neither A nor B): reads B."""
    text = texts[path]
    pa, la = A.rpartition(".")[::2]; pb, lb = B.rpartition(".")[::2]
    if la not in text: return
    e = Edit(text); rename = None
    names, imps = bound(e.tree)
    lineno_new = []
    for n in ast.walk(e.tree):
        if isinstance(n, ast.ImportFrom) and n.level == 0:
            if n.module == A:
                e.replace(n, import_text(B, n.names))
            elif n.module == pa and any(a.name == la for a in n.names):
                keep = [a for a in n.names if a.name != la]
                got = [a for a in n.names if a.name == la][0]
                if got.asname: new = f"from {pb} import {lb} as {got.asname}"
                elif imps.get(lb) == B and la not in names: new = ""; rename = (la, lb)
                elif lb in names or lb in imps or la in names: new = f"from {pb} import {lb} as {la}"
                else: new = f"from {pb} import {lb}"; rename = (la, lb)
                indent = " " * n.col_offset
                both = [t for t in (import_text(pa, keep), new) if t]
                e.replace(n, ("\n" + indent).join(both) or "pass")
    if rename:
        for n in ast.walk(e.tree):
            if isinstance(n, ast.Name) and n.id == rename[0] : e.replace(n, rename[1])
    out = e.done()
    # strings and comments
    out = words(out, A, B)
    if out != text:
        texts[path] = out; dirty.add(path)
    feature = re.match(r"engine\.features\.(\w+)\.(.+)", A)
    if feature and path == root / f"engine/features/{feature[1]}/__init__.py":
        nb = B.removeprefix(f"engine.features.{feature[1]}.")
        out = re.sub(rf'"{re.escape(feature[2])}:', f'"{nb}:', texts[path])
        if out != texts[path]: texts[path] = out; dirty.add(path)

def strip_reads(text, own, other, other_names, own_bound):
    """Text of `own` without its imports of `other`, whose names stand in the same file from now on."""
    e = Edit(text); po, lo = other.rpartition(".")[::2]
    top = {id(n) for n in e.tree.body}
    tc = [n for n in e.tree.body if isinstance(n, ast.If) and ast.unparse(n.test) == "TYPE_CHECKING"]
    tcs = {id(x) for n in tc for x in n.body}
    ren = {}; whole = None
    for n in ast.walk(e.tree):
        if isinstance(n, ast.ImportFrom) and n.level == 0:
            if n.module == other:
                if id(n) not in top and id(n) not in tcs: raise No(f"lazy import of {other} in {own}")
                sub = [a for a in n.names if path_of(f"{other}.{a.name}") in texts]
                for a in n.names:
                    if a not in sub and a.asname and a.asname != a.name: ren[a.asname] = a.name
                e.replace(n, import_text(n.module, sub) or ("pass" if id(n) in tcs else ""))
            elif n.module == po and any(a.name == lo for a in n.names):
                if id(n) not in top and id(n) not in tcs: raise No(f"lazy import of {other} in {own}")
                got = [a for a in n.names if a.name == lo][0]
                whole = got.asname or lo
                keep = [a for a in n.names if a.name != lo]
                e.replace(n, import_text(n.module, keep) or ("pass" if id(n) in tcs else ""))
    if whole:
        for n in ast.walk(e.tree):
            if isinstance(n, ast.Attribute) and isinstance(n.value, ast.Name) and n.value.id == whole:
                if n.attr in own_bound[0] or (n.attr in own_bound[1]):
                    raise No(f"{whole}.{n.attr}: the name is bound in {own}")
                a, b = e.span(n); e.cut(a, b, n.attr)
            elif isinstance(n, ast.Name) and n.id == whole and not any(isinstance(p, ast.Attribute) and p.value is n for p in ast.walk(e.tree)):
                raise No(f"module {whole} used as a value in {own}")
    for n in ast.walk(e.tree):
        if isinstance(n, ast.Name) and n.id in ren: e.replace(n, ren[n.id])
    return e.done()

def rename_private(text, pairs):
    if not pairs: return text
    toks = []; e = Edit(text)
    for n in ast.walk(e.tree):
        if isinstance(n, ast.Name) and n.id in pairs: e.replace(n, pairs[n.id])
        if isinstance(n, ast.arg) and n.arg in pairs: raise No(f"argument {n.arg} is renamed")
        if isinstance(n, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)) and n.name in pairs:
            a, _ = e.span(n); at = re.compile(rf"\b{n.name}\b").search(text, a); e.cut(at.start(), at.end(), pairs[n.name])
    return e.done()

def parts(text):
    """Docstring text, import statements, TYPE_CHECKING imports, body text (with comments)."""
    e = Edit(text); body = e.tree.body; doc = ""
    i = 0
    if body and isinstance(body[0], ast.Expr) and isinstance(body[0].value, ast.Constant) and isinstance(body[0].value.value, str):
        a, b = e.span(body[0]); doc = text[a:b]; i = 1
    imports, checking, last = [], [], e.span(body[0])[1] if i else 0
    head = last
    spans = []
    for n in body[i:]:
        if isinstance(n, (ast.Import, ast.ImportFrom)):
            imports.append(text[slice(*e.span(n))]); spans.append(e.span(n))
        elif isinstance(n, ast.If) and ast.unparse(n.test) == "TYPE_CHECKING":
            if n.orelse: raise No("TYPE_CHECKING with else")
            checking += [text[slice(*e.span(x))] for x in n.body if not isinstance(x, ast.Pass)]; spans.append(e.span(n))
        elif isinstance(n, ast.Pass): spans.append(e.span(n))
    rest = text
    for a, b in sorted(spans, reverse=True):
        eol = rest.find("\n", b); tail = rest[b:eol] if eol >= 0 else rest[b:]
        if tail.strip().startswith("#"): b = eol
        rest = rest[:a] + rest[b:]
    rest = rest[head:].strip("\n")
    return doc, imports, checking, rest

def joined_doc(db, da):
    if not da: return db
    raw_prefix = "r" if db.startswith("r") or da.startswith("r") else ""
    db, da = db.removeprefix("r"), da.removeprefix("r")
    if db and not db.startswith('"""'): db = '""' + db + '""'
    if not da.startswith('"""'): da = '""' + da + '""'
    inner_a = ast.literal_eval(da).strip("\n").rstrip() if da.startswith(('"', "r")) else ""
    if not db: return raw_prefix + da
    inner_b = db.strip('"').rstrip()
    raw = da[3:-3] if da.startswith('"""') else inner_a
    return raw_prefix + '"""' + inner_b.rstrip() + "\n\n" + raw.strip() + ('\n"""')

def merge(A, B, pairs):
    fa, fb = path_of(A), path_of(B)
    if fa not in texts: raise No(f"no {A}")
    ta = texts[fa]
    new = fb not in texts or fb in dead
    if fa.name == "__init__.py":
        raise No("A is a package")
    tb = "" if new else texts[fb]
    ta = rename_private(ta, pairs)
    tree_a, tree_b = ast.parse(ta), ast.parse(tb)
    defs_a, defs_b = top_defs(tree_a), top_defs(tree_b)
    bd_a, bd_b = bound(tree_a), bound(tree_b)
    if not new:
        tb2 = strip_reads(tb, B, A, defs_a, bd_b)
        ta2 = strip_reads(ta, A, B, defs_b, bd_a)
    else: ta2, tb2 = ta, tb
    # same statements
    ea = Edit(ta2); srcs_b = {tb[slice(*Edit(tb).span(n))] for n in tree_b.body} if tb else set()
    for n in ea.tree.body:
        s = ta2[slice(*ea.span(n))]
        if isinstance(n, (ast.Assign, ast.AnnAssign)):
            target = [t.id for t in getattr(n, "targets", [getattr(n, "target", None)]) if isinstance(t, ast.Name)]
            if target == ["__all__"] or s in srcs_b:
                ea.replace(n, ""); [defs_a.pop(t, None) for t in target]
    ta2 = ea.done()
    clash = sorted(set(defs_a) & set(defs_b))
    if clash: raise No(f"both define {clash}")
    # imports of one name with two meanings; definitions of one that are imports of the other
    na, nb = bound(ast.parse(ta2)), bound(ast.parse(tb2))
    two = [n for n in na[1] if n in nb[1] and na[1][n] != nb[1][n]]
    two += [n for n in defs_a if n in nb[1]] + [n for n in defs_b if n in na[1]]
    if two: raise No(f"two meanings: {two}")
    # a function of B that uses a global of its own which A's import hides etc. is covered by the above; locals are locals
    da, ia, ca, ra = parts(ta2); db, ib, cb, rb = parts(tb2)
    eager = set()
    def walk(n, inside):
        for c in ast.iter_child_nodes(n):
            if isinstance(c, (ast.FunctionDef, ast.AsyncFunctionDef)):
                for d in c.decorator_list + c.args.defaults + [x for x in c.args.kw_defaults if x] + ([c.returns] if c.returns else []) + [x.annotation for x in c.args.args + c.args.kwonlyargs + c.args.posonlyargs + [y for y in (c.args.vararg, c.args.kwarg) if y] if x.annotation]:
                    for x in ast.walk(d):
                        if isinstance(x, ast.Name): eager.add(x.id)
                continue
            if isinstance(c, ast.Lambda):
                walk(c, True); continue
            if isinstance(c, ast.Name): eager.add(c.id)
            walk(c, inside)
    def eager_of(t):
        eager.clear(); walk(ast.parse(t), False); return set(eager)
    b_needs, a_needs = eager_of(tb2) & set(defs_a), eager_of(ta2) & set(defs_b)
    if b_needs and a_needs: raise No(f"each needs the other at import: {sorted(b_needs)[:3]} {sorted(a_needs)[:3]}")
    bodies = [ra, rb] if b_needs else [rb, ra]
    real = {n for t in ib + ia for n in bound(ast.parse(t))[1]}
    checking = []
    for t in cb + ca:
        stmt = ast.parse(t).body[0]
        if isinstance(stmt, ast.ImportFrom):
            stmt.names = [x for x in stmt.names if (x.asname or x.name) not in real and (x.asname or x.name) not in set(defs_a) | set(defs_b)]
            if stmt.names: checking.append(import_text(stmt.module, stmt.names))
        else: checking.append(t)
    doc = joined_doc(db, da) if not new else da
    out = doc + "\n\n" + "\n".join(ib + [x for x in ia if x not in ib])
    if checking: out += "\n\nif TYPE_CHECKING:\n" + "".join(f"    {t}\n" for t in dict.fromkeys(checking))
    # constants that lie before definitions
    out += "\n\n" + "\n\n\n".join(b for b in bodies if b) + "\n"
    try: ast.parse(out)
    except SyntaxError as error: raise No(f"syntax {error}")
    out = words(out, A, B)
    texts[fb] = out; dirty.add(fb); dead.discard(fb)
    del texts[fa]; dead.add(fa); dirty.discard(fa)
    for path in list(texts):
        if path != fb: redirect(path, A, B)
    redirect_self = texts[fb]
    for p, t in other.items():
        n = words(t, A, B)
        if n != t: other[p] = n; dirty.add(p)
    # renamed private names in readers
    return len(pairs)

good = bad = 0
moved = {}
for line in Path(sys.argv[2]).read_text().splitlines():
    line = line.split("#")[0].split()
    if not line: continue
    A, B, *ren = line
    while B in moved: B = moved[B]
    try:
        merge(A, B, dict(r.split("=") for r in ren)); good += 1; moved[A] = B
    except No as error:
        bad += 1; print(f"NO {A} -> {B}: {error}")
print(good, "merged,", bad, "not")
if not DRY:
    for p in dirty:
        p.parent.mkdir(parents=True, exist_ok=True); p.write_text(texts.get(p, other.get(p)), encoding="utf-8")
    for p in dead:
        if p not in dirty and p.exists(): p.unlink()
    for B in dict.fromkeys(moved.values()):
        p = path_of(B)
        if p.name == "__init__.py" and p.exists():
            rest = [x for x in p.parent.iterdir() if x.name not in ("__init__.py", "__pycache__")]
            if not rest:
                flat = p.parent.with_suffix(".py")
                flat.write_text(p.read_text()); p.unlink()
                import shutil; shutil.rmtree(p.parent)
                print("flat", flat.relative_to(root))
