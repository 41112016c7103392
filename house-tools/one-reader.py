"""Candidates: modules of engine/adapters with one reader, small, same room."""
import ast, sys
from pathlib import Path
from collections import defaultdict
root=Path(sys.argv[1]); sys.path.insert(0,str(root))
from tools.size import modules, code_lines
mods={m.name:m for m in modules(root)}
def imports(m):
    out=[]
    pk=m.name.split('.')
    top=set(map(id,m.tree.body))
    for n in ast.walk(m.tree):
        if isinstance(n,ast.ImportFrom) and n.module and n.level==0:
            for a in n.names:
                full=f"{n.module}.{a.name}"
                t=full if full in mods else n.module
                if t in mods: out.append((t,a.name,id(n) in top,full in mods))
        elif isinstance(n,ast.Import):
            for a in n.names:
                if a.name in mods: out.append((a.name,None,id(n) in top,True))
    return out
readers=defaultdict(lambda: defaultdict(list))
for m in mods.values():
    for t,name,top,whole in imports(m):
        if t!=m.name: readers[t][m.name].append((name,top,whole))
strings=defaultdict(set)
texts={m.name:m.text for m in mods.values()}
lines={n:code_lines(m) for n,m in mods.items()}
raw={n:m.text.count('\n') for n,m in mods.items()}
def main():
    k=0
    for n,m in sorted(mods.items()):
        if m.path.endswith('__init__.py') or not m.path.startswith(('engine/','adapters/')): continue
        r={x:v for x,v in readers[n].items()}
        if len(r)!=1: continue
        (x,v),=r.items()
        lazy=any(not top for _,top,_ in v)
        whole=any(w for *_,w in v)
        quoted=[y for y,t in texts.items() if y!=n and (f'"{n}' in t or f"'{n}" in t or n.split('.',3)[-1].replace('.',':') in t and False)]
        print('\t'.join(map(str,(n,lines[n],x,lines[x],raw[n]+raw[x],'lazy' if lazy else '','whole' if whole else '','same' if n.rsplit('.',1)[0]==x.rsplit('.',1)[0] else ''))))
main()
