import os, sys, importlib
from pathlib import Path
root=Path(sys.argv[1]); sys.path.insert(0,str(root)); os.chdir(root)
names=[p.relative_to(root).as_posix().removesuffix('.py').removesuffix('/__init__').replace('/','.') for t in ('engine','adapters','workbench') for p in sorted((root/t).rglob('*.py')) if p.name!='__main__.py']
bad=0
running=set()
def reap():
    pid,st=os.wait(); running.discard(pid); return st
for n in names:
    while len(running)>=2:
        bad+=reap()!=0
    pid=os.fork()
    if pid==0:
        try: importlib.import_module(n)
        except BaseException as e:
            print(n, type(e).__name__, str(e)[:160], flush=True); os._exit(1)
        os._exit(0)
    running.add(pid)
while running: bad+=reap()!=0
print(len(names),'modules',bad,'bad')
