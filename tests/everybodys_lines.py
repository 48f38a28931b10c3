"""Lines that everybody writes in a notebook: imports, seeds, loaders, the frame of a training loop, plots.

Each comes in a few wordings, as in notebooks that were written without looking at one another.
"""

from __future__ import annotations

IMPORTS = [
    """
import os
import random
import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
import matplotlib.pyplot as plt
from torch.utils.data import DataLoader
from torchvision import datasets, transforms
from tqdm import tqdm
""",
    """
import torch
from torch import nn, optim
from torch.nn import functional as F
from torch.utils.data import DataLoader, Dataset, random_split
import torchvision
from torchvision import transforms as T
from torchvision.utils import make_grid, save_image
import matplotlib.pyplot as plt
import numpy as np
from pathlib import Path
from tqdm.auto import tqdm
""",
    """
import glob, os, random, time
import pandas as pd
import numpy as np
from PIL import Image
from matplotlib import pyplot as plt
import torch, torchvision
import torch.nn as nn
import torchvision.transforms as transforms
from torchvision.datasets import ImageFolder
from torch.utils.data import DataLoader
from torch.utils.tensorboard import SummaryWriter
from IPython.display import clear_output
%matplotlib inline
""",
]
SET_UP = [
    """
def set_seed(seed=42):
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)
    torch.cuda.manual_seed_all(seed)
    torch.backends.cudnn.deterministic = True
    torch.backends.cudnn.benchmark = False

set_seed()
device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
print(device)
""",
    """
SEED = 1
torch.manual_seed(SEED)
np.random.seed(SEED)
random.seed(SEED)
device = 'cuda:0' if torch.cuda.is_available() else 'cpu'
BATCH_SIZE = 128
EPOCHS = 30
LR = 2e-4
LATENT_DIM = 100
""",
    """
def seed_everything(seed: int):
    random.seed(seed)
    os.environ["PYTHONHASHSEED"] = str(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)
    torch.cuda.manual_seed(seed)
    torch.backends.cudnn.deterministic = True

seed_everything(2023)
device = torch.device('cuda') if torch.cuda.is_available() else torch.device('cpu')
device
""",
]
LOADERS = [
    """
transform = transforms.Compose([
    transforms.Resize(64),
    transforms.CenterCrop(64),
    transforms.ToTensor(),
    transforms.Normalize((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
])
train_dataset = datasets.ImageFolder(root=data_path, transform=transform)
train_loader = DataLoader(train_dataset, batch_size=batch_size, shuffle=True, num_workers=2)
print(len(train_dataset))
""",
    """
transform = T.Compose([T.ToTensor(), T.Normalize((0.5,), (0.5,))])
train_set = torchvision.datasets.MNIST(root='./data', train=True, download=True, transform=transform)
test_set = torchvision.datasets.MNIST(root='./data', train=False, download=True, transform=transform)
train_loader = DataLoader(train_set, batch_size=BATCH_SIZE, shuffle=True, num_workers=2, drop_last=True)
test_loader = DataLoader(test_set, batch_size=BATCH_SIZE, shuffle=False, num_workers=2)
images, labels = next(iter(train_loader))
images.shape, labels.shape
""",
    """
class FacesDataset(Dataset):
    def __init__(self, root, transform=None):
        self.root = root
        self.files = sorted(os.listdir(root))
        self.transform = transform

    def __len__(self):
        return len(self.files)

    def __getitem__(self, idx):
        image = Image.open(os.path.join(self.root, self.files[idx])).convert('RGB')
        if self.transform is not None:
            image = self.transform(image)
        return image

dataset = FacesDataset(DATA_DIR, transform)
train_size = int(0.8 * len(dataset))
train_ds, val_ds = random_split(dataset, [train_size, len(dataset) - train_size])
train_dl = DataLoader(train_ds, batch_size=64, shuffle=True, pin_memory=True)
val_dl = DataLoader(val_ds, batch_size=64, shuffle=False, pin_memory=True)
""",
]
LOOKS = [
    """
fig, axes = plt.subplots(2, 5, figsize=(12, 5))
for i, ax in enumerate(axes.flat):
    ax.imshow(images[i].permute(1, 2, 0).cpu().numpy())
    ax.set_title(f'label {labels[i].item()}')
    ax.axis('off')
plt.tight_layout()
plt.show()
""",
    """
plt.figure(figsize=(8, 8))
plt.axis("off")
plt.title("Training Images")
plt.imshow(np.transpose(make_grid(batch[0].to(device)[:64], padding=2, normalize=True).cpu(), (1, 2, 0)))
plt.show()
""",
    """
def show_images(images, nrow=8, title=None):
    grid = torchvision.utils.make_grid(images, nrow=nrow, normalize=True)
    plt.figure(figsize=(10, 10))
    plt.imshow(grid.permute(1, 2, 0).cpu().detach().numpy())
    if title is not None:
        plt.title(title)
    plt.axis('off')
    plt.show()

show_images(next(iter(train_loader))[0][:16])
""",
]
LOOPS = [
    """
optimizer = torch.optim.Adam(model.parameters(), lr=lr)
criterion = nn.MSELoss()
train_losses, val_losses = [], []
for epoch in range(num_epochs):
    model.train()
    running_loss = 0.0
    for images, _ in tqdm(train_loader):
        images = images.to(device)
        optimizer.zero_grad()
        outputs = model(images)
        loss = criterion(outputs, images)
        loss.backward()
        optimizer.step()
        running_loss += loss.item() * images.size(0)
    epoch_loss = running_loss / len(train_loader.dataset)
    train_losses.append(epoch_loss)
    print(f'Epoch [{epoch + 1}/{num_epochs}], Loss: {epoch_loss:.4f}')
    model.eval()
    val_loss = 0
    with torch.no_grad():
        for images, _ in val_loader:
            images = images.to(device)
            val_loss += criterion(model(images), images).item()
    val_losses.append(val_loss / len(val_loader))
torch.save(model.state_dict(), 'model.pth')
""",
    """
def train(model, loader, optimizer, epochs):
    history = []
    for epoch in range(epochs):
        total = 0
        for i, (x, y) in enumerate(loader):
            x, y = x.to(device), y.to(device)
            optimizer.zero_grad()
            loss = compute_loss(model, x, y)
            loss.backward()
            optimizer.step()
            total += loss.item()
            if i % 100 == 0:
                print(f"epoch {epoch}, step {i}, loss {loss.item():.3f}")
        history.append(total / len(loader))
    return history

model = Model().to(device)
optimizer = optim.Adam(model.parameters(), lr=LR, betas=(0.5, 0.999))
history = train(model, train_loader, optimizer, EPOCHS)
""",
    """
netG = Generator().to(device)
netD = Discriminator().to(device)
opt_g = torch.optim.Adam(netG.parameters(), lr=lr, betas=(beta1, 0.999))
opt_d = torch.optim.Adam(netD.parameters(), lr=lr, betas=(beta1, 0.999))
writer = SummaryWriter('runs/exp1')
G_losses, D_losses = [], []
step = 0
for epoch in range(num_epochs):
    for i, data in enumerate(dataloader):
        real = data[0].to(device)
        noise = torch.randn(real.size(0), nz, 1, 1, device=device)
        opt_d.zero_grad()
        loss_d = discriminator_loss(netD, netG, real, noise)
        loss_d.backward()
        opt_d.step()
        opt_g.zero_grad()
        loss_g = generator_loss(netD, netG, noise)
        loss_g.backward()
        opt_g.step()
        G_losses.append(loss_g.item())
        D_losses.append(loss_d.item())
        writer.add_scalar('loss/G', loss_g.item(), step)
        writer.add_scalar('loss/D', loss_d.item(), step)
        step += 1
    clear_output(wait=True)
    print('[%d/%d] Loss_D: %.4f Loss_G: %.4f' % (epoch, num_epochs, loss_d.item(), loss_g.item()))
""",
]
CURVES = [
    """
plt.figure(figsize=(10, 5))
plt.title("Generator and Discriminator Loss During Training")
plt.plot(G_losses, label="G")
plt.plot(D_losses, label="D")
plt.xlabel("iterations")
plt.ylabel("Loss")
plt.legend()
plt.show()
""",
    """
plt.figure(figsize=(12, 4))
plt.subplot(1, 2, 1)
plt.plot(train_losses, label='train')
plt.plot(val_losses, label='val')
plt.xlabel('epoch')
plt.ylabel('loss')
plt.legend()
plt.grid(True)
plt.subplot(1, 2, 2)
plt.plot(fid_values)
plt.xlabel('epoch')
plt.ylabel('FID')
plt.savefig('loss.png')
plt.show()
""",
    """
fig, ax = plt.subplots(figsize=(10, 6))
ax.plot(range(1, len(history) + 1), history, marker='o', label='train loss')
ax.set_xlabel('Epoch')
ax.set_ylabel('Loss')
ax.set_title('Training loss')
ax.legend()
ax.grid()
plt.tight_layout()
plt.savefig('images/loss.png', dpi=150)
plt.show()
""",
]
SAMPLES = [
    """
model.eval()
with torch.no_grad():
    z = torch.randn(64, latent_dim).to(device)
    samples = model.decode(z).cpu()
fig, axes = plt.subplots(8, 8, figsize=(8, 8))
for ax, img in zip(axes.flatten(), samples):
    ax.imshow(img.squeeze().numpy(), cmap='gray')
    ax.axis('off')
plt.subplots_adjust(wspace=0, hspace=0)
plt.savefig('samples.png')
plt.show()
""",
    """
with torch.no_grad():
    fake = netG(fixed_noise).detach().cpu()
img_list.append(make_grid(fake, padding=2, normalize=True))
plt.figure(figsize=(15, 15))
plt.subplot(1, 2, 1)
plt.axis("off")
plt.title("Real Images")
plt.imshow(np.transpose(make_grid(real_batch[0].to(device)[:64], padding=5, normalize=True).cpu(), (1, 2, 0)))
plt.subplot(1, 2, 2)
plt.axis("off")
plt.title("Fake Images")
plt.imshow(np.transpose(img_list[-1], (1, 2, 0)))
plt.show()
""",
    """
os.makedirs('results', exist_ok=True)
images, _ = next(iter(test_loader))
images = images.to(device)
with torch.no_grad():
    outputs = model(images)
n = 10
plt.figure(figsize=(20, 4))
for i in range(n):
    ax = plt.subplot(2, n, i + 1)
    plt.imshow(images[i].cpu().numpy().squeeze(), cmap='gray')
    ax.get_xaxis().set_visible(False)
    ax.get_yaxis().set_visible(False)
    ax = plt.subplot(2, n, i + 1 + n)
    plt.imshow(outputs[i].cpu().numpy().squeeze(), cmap='gray')
    ax.get_xaxis().set_visible(False)
    ax.get_yaxis().set_visible(False)
plt.show()
save_image(outputs.cpu(), 'results/reconstruction.png', nrow=8)
""",
]
