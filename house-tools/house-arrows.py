"""Figures of a moved tree, and tests/core_and_features.tsv:  house-arrows.py ROOT [--write]"""
import ast, sys
from collections import Counter
from pathlib import Path
ROOT=Path(sys.argv[1])
def mods():
    for top in ("engine","adapters","workbench"):
        for p in sorted((ROOT/top).rglob("*.py")):
            parts=list(p.relative_to(ROOT).with_suffix("").parts)
            yield ".".join(parts[:-1] if parts[-1]=="__init__" else parts), p
M=dict(mods())
def imports(p, types=True):
    t=ast.parse(p.read_bytes()); out=set(); skip=set()
    if not types:
        for n in ast.walk(t):
            if isinstance(n,ast.If) and isinstance(n.test,ast.Name) and n.test.id=="TYPE_CHECKING": skip|=set(n.body)
    for n in ast.walk(t):
        if n in skip: continue
        if isinstance(n,ast.Import): out|={a.name for a in n.names}
        elif isinstance(n,ast.ImportFrom):
            inner={f"{n.module}.{a.name}" for a in n.names}
            out|={x for x in inner if x in M} or {n.module}
    return {x for x in out if x in M}
I={m:imports(p) for m,p in M.items()}
R={m:imports(p,False) for m,p in M.items()}
feat=lambda m: m.split(".")[2] if m.startswith("engine.features.") else None
debt=sorted((a,b) for a in I for b in I[a] if not feat(a) and feat(b) and not a.startswith("workbench"))
bench=sorted((a,b) for a in I for b in I[a] if feat(b) and a.startswith("workbench"))
arrows=sorted((a,b) for a in I for b in I[a] if feat(a) and feat(b) and feat(a)!=feat(b))
print("core -> feature:",len(debt),"from",len({a for a,b in debt}),"modules;",{k:v for k,v in Counter('.'.join(a.split('.')[:2]) for a,b in debt).most_common()})
print("workbench -> feature:",len(bench))
print("between features:",len(arrows),"in",len({(feat(a),feat(b)) for a,b in arrows}),"pairs:",dict(Counter(f"{feat(a)}->{feat(b)}" for a,b in arrows)))
room=lambda m: (m.split(".")[1] if m.startswith("engine.") and m.count(".") else m.split(".")[0]) if not feat(m) else "features"
CORE="model succession config mapping store delivery receiving diagnostics processing monitoring actions views help web runtime commands".split()
def rooms(kinds):
    r={(room(a),room(b)) for a in kinds for b in kinds[a] if a.startswith("engine.") and b.startswith("engine.")}
    return {(a,b) for a,b in r if a!=b and a!="__main__" and b!="engine"}
for name,k in (("with types",I),("to run",R)):
    r=rooms(k); names={x for p in r for x in p}
    up=[(a,b) for a,b in r if a in CORE and (b=="features" or (b in CORE and CORE.index(b)>CORE.index(a)))]
    print(name,"rooms",len(names),"arrows",len(r),"upward",len(up),sorted(up))
up=sorted((a,b) for a in R for b in R[a] if room(a) in CORE and room(b) in CORE and CORE.index(room(b))>CORE.index(room(a)) and not a.startswith("engine.help.topics"))
print("upward in core, to run:",len(up)); print(*up,sep="\n")
NAMES="config rules wire client rows on_outcome service functions acts lists todo metrics snapshot examine pages commands".split()
part=lambda m: m.split(".")[3] if feat(m) and m.count(".")>2 else ""
place=lambda n: NAMES.index({"flows":"service","exchange":"service"}.get(n,n)) if n else -1
ins=sorted((a,b) for a in R for b in R[a] if feat(a) and feat(a)==feat(b) and part(b) and place(part(b))>place(part(a)))
print("inside a feature, upward:",len(ins)); print(*ins,sep="\n")
if "--write" in sys.argv:
    out=["kind\tmodule\timports"]+[f"debt\t{a}\t{b}" for a,b in debt]+[f"arrow\t{a}\t{b}" for a,b in arrows]+[f"inside\t{a}\t{b}" for a,b in ins]
    (ROOT/"tests/core_and_features.tsv").write_text("\n".join(out)+"\n")
    arch=ROOT/"tests/test_architecture.py"; import re
    arch.write_text(re.sub(r'AT_MOST = \{.*?\}', f'AT_MOST = {{"debt": {len(debt)}, "arrow": {len(arrows)}, "inside": {len(ins)}}}', arch.read_text()))
